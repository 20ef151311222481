--[[
  How a plan is kept: the part that every transition shares. `T` is the shard's key prefix, `P` the plan's key.

  P             hash  metadata: short values only, so that it stays a listpack
  P:open        hash  step -> open record: the frontier
  P:steps       hash  step -> record of a done step, written once
  P:out         hash  step -> output; ":input", ":workdir", ":stop", ":error:<step>", ":ask:<step>"
  P:needs       hash  step -> how many of its needs are done (absent where one need is all it has)
  P:backlog     list  steps that are free to run, not yet in their queue
  P:history     list  events, oldest first
  P:decisions   list  decisions after the root: place of the parent|JSON
  P:sandboxes   list  snapshots of the sandbox, the one it started from first, as JSON
  P:exclusive   list  steps that wait for their turn to write the sandbox; whose turn it is stands in the plan's `holder`
  P:choices     hash  step/key -> place in P:decisions of what a step's attempts chose
  P:saved       hash  step -> cursor that an attempt saved for the next one
  P:signals     hash  signals that came before their step waited
  P:requests    hash  request id -> answer

  Times in records and history are milliseconds since the plan's `created`, so that they are short.
]]
-- This call's time, as text too: a number given to a command is formatted anew each time, and slowly.
local now_text

local function redis_now()
  local t = call('TIME')
  local ms = math.floor(tonumber(t[2]) / 1000)
  now_text = t[1] .. string.format('%03d', ms)
  return tonumber(t[1]) * 1000 + ms
end

local function str(number)
  return string.format('%d', number)
end

-- state|attempts|failures|crashes|line|token|at|due|wait|queue|phase|fence|traits (letters: i irreversible, r reads
-- the sandbox, w writes it)
local OPEN_PATTERN = '^(%a)|(%d+)|(%d+)|(%d+)|(%d+)|([^|]*)|(-?%d*)|(-?%d*)|(%a?)|([^|]*)|([^|]*)|(-?%d*)|(%a*)$'

local function open_decode(text)
  if not text then return nil end
  local r = {}
  r.state, r.attempts, r.failures, r.crashes, r.line, r.token, r.at, r.due, r.wait, r.queue, r.phase, r.fence, r.traits =
    string.match(text, OPEN_PATTERN)
  if not r.state then return nil end
  return r
end

-- The shard's stream gets what happened in one entry a call: plan, event, plan, event …
local happened = {}

-- Appends an event to the plan's history; `following`, where there is one, goes with it.
local function plan_record(P, plan, entry, following)
  local n = #happened
  happened[n + 1], happened[n + 2] = plan, entry
  if following then
    happened[n + 3], happened[n + 4] = plan, following
    call('RPUSH', P .. ':history', entry, following)
  else
    call('RPUSH', P .. ':history', entry)
  end
end

-- Ends every transition.
local function publish(T)
  for from = 1, #happened, 1000 do
    call('XADD', T .. 'events', 'MAXLEN', '~', '10000', '*', unpack(happened, from, math.min(from + 999, #happened)))
  end
end

local function job_id(plan, step, epoch)
  return plan .. '/' .. step .. '/' .. epoch
end

-- Ids can't hold a quote or a backslash, so this is JSON.
local function job_data(plan, step, epoch)
  return '{"plan":"' .. plan .. '","step":"' .. step .. '","epoch":' .. epoch .. '}'
end
