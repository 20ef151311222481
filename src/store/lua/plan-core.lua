--[[
  How a plan is kept, and the little that even the plain case of a commit needs of it. `T` is the shard's key prefix,
  `P` the plan's key.

  P             hash  metadata: short values only, so that it stays a listpack
  P:open        hash  step -> open record: the frontier
  P:steps       hash  step -> record of a done step, written once
  P:out         hash  step -> output; ":input", ":ask:<step>", ":error:<step>" of a step that has failed, or its last
                      attempt, ":failed:<step>" where the plan went on, ":progress:<step>" as its attempt tells it
  P:origin      hash  where it comes from: workdir, file, fork (plan, epoch and point), answer (of that fork). On its own because a dry-run reads it: looking into a growing hash
                      would move its entries about, and a dry-run must leave every key as it was, to the byte
  P:stop        string  who paused or cancelled it, and why; on its own for the same reason
  P:needs       hash  step -> how many of its needs are done (absent where one need is all it has)
  P:queued      hash  lane -> how many of its steps are in the queue and, with their start, let one of its backlog follow;
                      see lane_join
  P:backlog:<lane>  list  steps that are free to run, not yet in their queue
  P:history     list  events, oldest first
  P:decisions   list  decisions after the root: place of the parent|JSON
  P:sandboxes   list  snapshots of the sandbox, the one it started from first, as JSON
  P:exclusive   list  steps that wait for their turn to write the sandbox; whose turn it is stands in the plan's `holder`
  P:turns       hash  how many items of a map run, and which wait for their turn; see turn_enter
  P:appended    hash  step -> definition (JSON) of a step that another one appended; `grown` counts the changes
  P:choices     hash  step/key -> place in P:decisions of what a step's attempts chose; step/:when -> 0 once its condition holds
  P:saved       hash  step -> cursor that an attempt saved for the next one
  P:signals     hash  signals that came before their step waited
  P:requests    hash  request id -> answer

  The field `backlog` says how many lanes have a backlog, if any, and g where the plan has grown: that keeps its steps off the plain
  way of hand-on.lua.
  Times in records and history are milliseconds since the plan's `created`, so that they are short.
]]
-- This call's time, as text too: a number given to a command is formatted anew each time, and slowly.
local now_text

local function str(number)
  return string.format('%d', number)
end

local function redis_now()
  local t = call('TIME')
  local now = math.floor(t[1] * 1000 + t[2] / 1000)
  now_text = str(now)
  return now
end

local function job_id(plan, step, epoch)
  return plan .. '/' .. step .. '/' .. epoch
end

-- Ids can't hold a quote or a backslash, so this is JSON.
local function job_data(plan, step, epoch)
  return '{"plan":"' .. plan .. '","step":"' .. step .. '","epoch":' .. epoch .. '}'
end
