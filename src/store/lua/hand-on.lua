--[[
  The plain commits: of steps of plans without a sandbox, whose only successor needs nothing else and is in the same queue.
  Each is acknowledged and recorded, with its checkpoint and the plan's metadata, and the successor goes to that very slot,
  started here, without the way through the queue. Most steps cost just this, so it goes straight on, without a
  function or a table that it can do without; and a worker's steps that end together leave together, for what a call
  costs by itself.

  What isn't plain after all (a refusal, a queue that is paused, limited or capped, a plan that is pausing or has grown, a key of a
  wrong type) is left to complete.lua, with nothing written. Each commit is all of it or none; they don't depend on each
  other, nor on being called together.

  KEYS[1] <tag>:worker:<id>:own        hash  token -> queue and job
  KEYS[2…] <tag>:plan:<id>             hash  of each commit, in their order; and the other keys of these plans, of the queues and jobs
  ARGV[1] key prefix of the shard   ARGV[2] worker
  ARGV[3…] a commit: queue, plan, step, epoch, token, attempt, output (JSON), checkpoint id, and the successor: step, phase, traits

  Returns { now, fence … }: the successor's fence, or nothing ('') where complete.lua has to be called.
]]
--#include ../../queue/lua/lean-core.lua
--#include plan-core.lua
local T, worker, own, now = ARGV[1], ARGV[2], KEYS[1], redis_now()
local closed, happened, held = {}, {}, {}

-- Paused, limited or capped.
local function is_closed(q)
  local is = closed[q]
  if is == nil then
    local attributes = queue_attributes(q)
    is = attributes[1] or attributes[2] or attributes[3] or false
    closed[q] = is
  end
  return is
end

local function hand_on(P, queue, plan, step, epoch, token, attempt, output, checkpoint, next_step, phase, traits)
  local q, id = T .. queue .. ':', job_id(plan, step, epoch)
  local open, history, out = P .. ':open', P .. ':history', P .. ':out'
  local attempts, line, holder, at, fence = string.match(call('HGET', open, step) or '',
    '^r|(%d+)|%d+|%d+|(%d+)|([^|]*)|(%d+)|%-?%d*|%a?|[^|]*|[^|]*|(%d+)|')
  if holder ~= token or attempts ~= attempt or call('GET', q .. id .. ':lock') ~= token then return '' end
  local p = call('HMGET', P, 'epoch', 'state', 'created', 'fence', 'backlog', 'pausing', 'decision', 'phase')
  if p[1] ~= epoch or p[2] ~= 'running' or p[6] ~= '' or is_closed(q) then return '' end
  -- In a plan that has grown, another step may need this one by now.
  if p[5] ~= '' and string.find(p[5], 'g', 1, true) then return '' end
  local place = queue_place(q, id)
  if not place then return '' end
  -- A key of a wrong type raises here, or with the first write.
  call('LLEN', history)
  call('HSTRLEN', out, step)

  local created, next_fence = p[3], now_text
  if now <= tonumber(p[4]) then next_fence = str(p[4] + 1) end
  local next_at = str(now - created)
  local next_fence_at = next_fence == now_text and next_at or str(next_fence - created)
  call('HSET', P .. ':steps', step, 'c|' .. attempts .. '|' .. line .. '|' .. token .. '|' .. at .. '|' .. str(next_at - at)
    .. '|' .. (fence == at and '0' or str(fence - at)))
  call('HSET', open, next_step, 'r|1|0|0|' .. line .. '|' .. token .. '|' .. next_at .. '|||' .. queue .. '|' .. phase .. '|'
    .. next_fence_at .. '|' .. traits)
  call('HDEL', open, step)
  if output ~= 'null' then call('HSET', out, step, output) end
  local completed = 'c|' .. next_at .. '|' .. epoch .. '|' .. step .. '|' .. attempts .. '|' .. fence .. '|' .. p[7] .. '|'
  local started = 's|' .. next_at .. '|' .. epoch .. '|' .. next_step .. '|1|' .. next_fence_at .. '|' .. worker
  call('RPUSH', history, completed, started)
  local next_id = job_id(plan, next_step, epoch)
  queue_replace(q, place, id, next_id, job_data(plan, next_step, epoch), now_text)
  call('HSET', P, 'fence', next_fence, 'last_completed_step', step, 'last_checkpoint_id', checkpoint)
  if phase ~= p[8] then call('HSET', P, 'phase', phase) end

  local n, m = #happened, #held
  happened[n + 1], happened[n + 2], happened[n + 3], happened[n + 4] = plan, completed, plan, started
  held[m + 1], held[m + 2] = token, queue .. ' ' .. next_id
  return next_fence
end

local reply = { now_text }
for i = 2, #KEYS do
  local from = 11 * i - 19
  if not ARGV[from] then break end
  local ok, fence = pcall(hand_on, KEYS[i], unpack(ARGV, from, from + 10))
  reply[i] = ok and fence or ''
end
if #held > 0 then
  call('HSET', own, unpack(held))
  -- The stream is trimmed where a plan ends.
  call('XADD', T .. 'events', '*', unpack(happened))
end
return reply
