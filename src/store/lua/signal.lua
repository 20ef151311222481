--[[
  Answers a step that waits: completes it and releases what needs it, without a job. An answer to a step that doesn't
  wait yet, or of a paused plan, is kept until it does; it keeps one.

  KEYS[1] <tag>:plan:<id>   hash   and the other keys of the plan, its queues and the jobs it adds
  ARGV[1] key prefix of the shard   ARGV[2] plan   ARGV[3] step   ARGV[4] what kind of wait it answers: a, c or s
  ARGV[5] signal id or empty   ARGV[6] effect: empty or cancel   ARGV[7] actor   ARGV[8] decision (JSON) or empty
  ARGV[9] output (JSON)   ARGV[10] how the plan has grown, as the caller knows it   ARGV[11…] successors: step, number of needs, queue, phase, traits

  Returns OK, KEPT, GROWN (the plan has steps that the caller doesn't know: read again), REPEATED (the signal id was seen), NOPLAN, TERMINAL <state> or NOTWAITING <why>.
]]
--#include ../../queue/lua/lean-queue.lua
--#include plan.lua
--#include attempt.lua
--#include answer.lua
local T, plan, step, kind, P, now = ARGV[1], ARGV[2], ARGV[3], ARGV[4], KEYS[1], redis_now()
local p = attempt_facts(P)
if not p.epoch then return 'NOPLAN' end
if ARGV[5] ~= '' and call('HEXISTS', P .. ':requests', 'signal:' .. ARGV[5]) == 1 then return 'REPEATED' end
if p.state == 'completed' or p.state == 'cancelled' then return 'TERMINAL ' .. p.state end
if call('HEXISTS', P .. ':steps', step) == 1 then return 'NOTWAITING it is done' end
local r = open_decode(call('HGET', P .. ':open', step))
local waiting = r and r.state == 'w' and r.wait == kind
if r and r.state == 'w' and not waiting then return 'NOTWAITING it waits for something else' end
-- Nobody would look at what comes while the step is ending without it.
if r and r.wait == kind and (r.state == 'r' or r.state == 'q' or r.state == 'd') then return 'NOTWAITING its time is over' end
-- Read once before the first write, so that a key of a wrong type raises here.
call('LLEN', P .. ':history')
call('LLEN', P .. ':decisions')
call('HSTRLEN', P .. ':out', step)
call('HLEN', P .. ':needs')
local answer = answer_encode(ARGV[6], ARGV[7], ARGV[8], ARGV[9])
if kind ~= 's' and not waiting then return 'NOTWAITING it has not asked yet' end
local is_kept = not waiting or p.state == 'paused'
-- The first answer counts, here as where the step waits: a second one would be told that it is kept, and the first one lost.
if is_kept and call('HEXISTS', P .. ':signals', step) == 1 then
  return 'NOTWAITING it has its answer already, and takes it when ' .. (waiting and 'the plan is resumed' or 'it waits')
end
if waiting and p.grown ~= ARGV[10] then return 'GROWN' end
if ARGV[5] ~= '' then call('HSET', P .. ':requests', 'signal:' .. ARGV[5], now_text) end
if is_kept then
  call('HSET', P .. ':signals', step, answer)
  return 'KEPT'
end
if r.due ~= '' then timer_remove(T, plan, step, p.epoch, r) end
local fence = p.created + tonumber(r.fence)
answer_step(T, P, plan, step, p, r, answer, 'ckp_' .. crockford(fence, 10) .. p.tag, 11, now)
publish(T)
return 'OK'
