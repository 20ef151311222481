--[[
  The record of an open step. Its state: q queued, b in the backlog, e waits for its turn in the plan, l waits for a place of its
  concurrency, k for its rate, d delayed, r running, w waits for an answer or a timer, h held, u uncertain, f failed.
]]
-- state|attempts|failures|crashes|line|token|at|due|wait|queue|phase|fence|traits (i irreversible, r reads
-- the sandbox, w writes it, p and its priority, m and how many items of its map run at once), then, where it has limits,
-- |key:limit of its concurrency|key:max:ms of its rate, of which one may be empty. `at` is empty where a step is one of
-- those that P:queued counts.
local OPEN_PATTERN = '^(%a)|(%d+)|(%d+)|(%d+)|(%d+)|([^|]*)|(-?%d*)|(-?%d*)|(%a?)|([^|]*)|([^|]*)|(-?%d*)|(%w*)(.*)$'

local function open_decode(text)
  if not text then return nil end
  local r = {}
  r.state, r.attempts, r.failures, r.crashes, r.line, r.token, r.at, r.due, r.wait, r.queue, r.phase, r.fence, r.traits,
    r.limits = string.match(text, OPEN_PATTERN)
  if not r.state then return nil end
  return r
end

local function open_encode(r)
  return r.state .. '|' .. r.attempts .. '|' .. r.failures .. '|' .. r.crashes .. '|' .. r.line .. '|' .. r.token .. '|'
    .. r.at .. '|' .. r.due .. '|' .. r.wait .. '|' .. r.queue .. '|' .. r.phase .. '|' .. r.fence .. '|' .. r.traits .. r.limits
end

-- What a step declares that scripts must know, as TypeScript says it: its traits, and its limits behind them.
local function traits_set(r, declared)
  r.traits, r.limits = string.match(declared, '^(%w*)(.*)$')
end

local function priority_of(r)
  return string.match(r.traits, 'p(%d+)')
end

-- Steps of a plan that take each other's place in a queue: those of one queue, one priority and the same limits.
local function lane_of(r)
  return r.queue .. '|' .. (priority_of(r) or '') .. r.limits
end

-- The concurrency of a step: key, limit
local function place_of(r)
  local key, limit = string.match(r.limits, '^|([^:|]+):(%d+)|')
  return key, tonumber(limit)
end

-- Its rate: key, max, ms
local function rate_of(r)
  local key, max, per = string.match(r.limits, '|([^:|]+):(%d+):(%d+)$')
  return key, tonumber(max), tonumber(per)
end
