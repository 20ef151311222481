--[[
  The record of an open step.
]]
-- state|attempts|failures|crashes|line|token|at|due|wait|queue|phase|fence|traits (i irreversible, r reads
-- the sandbox, w writes it, p and its priority, m and how many items of its map run at once). `at` is empty where a
-- queued step is one of those that P:queued counts.
local OPEN_PATTERN = '^(%a)|(%d+)|(%d+)|(%d+)|(%d+)|([^|]*)|(-?%d*)|(-?%d*)|(%a?)|([^|]*)|([^|]*)|(-?%d*)|(%w*)$'

local function open_decode(text)
  if not text then return nil end
  local r = {}
  r.state, r.attempts, r.failures, r.crashes, r.line, r.token, r.at, r.due, r.wait, r.queue, r.phase, r.fence, r.traits =
    string.match(text, OPEN_PATTERN)
  if not r.state then return nil end
  return r
end

local function open_encode(r)
  return r.state .. '|' .. r.attempts .. '|' .. r.failures .. '|' .. r.crashes .. '|' .. r.line .. '|' .. r.token .. '|'
    .. r.at .. '|' .. r.due .. '|' .. r.wait .. '|' .. r.queue .. '|' .. r.phase .. '|' .. r.fence .. '|' .. r.traits
end

local function priority_of(r)
  return string.match(r.traits, 'p(%d+)')
end

-- Steps of a plan that take each other's place in a queue: those of one queue and one priority.
local function lane_of(r)
  return r.queue .. '|' .. (priority_of(r) or '')
end
