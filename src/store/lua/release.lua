--[[
  Hands a step back without a result and without counting a failure: on drain, or because this worker can't run it.

  KEYS[1] <tag>:worker:<id>:own        hash  token -> queue and job
  KEYS[2] <tag>:plan:<id>              hash  and the other keys of the plan, of the queue and of the jobs it adds
  ARGV[1] key prefix of the shard   ARGV[2] queue   ARGV[3] plan   ARGV[4] step   ARGV[5] epoch   ARGV[6] token
  ARGV[7] attempt   ARGV[8] worker   ARGV[9] ms that the next job's lock lasts, 0 to fetch none
  ARGV[10] reason   ARGV[11] delay in ms, 0 for at once   ARGV[12] 1 where no attempt happened: the start is undone

  Returns { verdict, now, … } with the next job, as fetch_reply says; verdict OK, DUP, LOST or FENCED.
]]
--#include ../../queue/lua/lean-queue.lua
--#include plan.lua
--#include start.lua
--#include attempt.lua
local T, queue, plan, step, epoch, token, attempt, worker, lock_ms =
  ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local own, P, q, id, now = KEYS[1], KEYS[2], T .. queue .. ':', job_id(plan, step, epoch), redis_now()
local refusal, p, r = attempt_refusal(q, P, id, step, epoch, token, attempt)
if not refusal and not queue_acknowledge(q, id) then refusal = 'LOST' end
if refusal then
  attempt_discard(q, id, refusal)
  return fetch_after(refusal, T, queue, own, token, worker, lock_ms, now)
end
local delay, undo = tonumber(ARGV[11]), ARGV[12] == '1'
local a, at = queue_attributes(q), now - p.created
if undo then
  call('LREM', P .. ':history', -1, 's|' .. r.at .. '|' .. epoch .. '|' .. step .. '|' .. attempt .. '|' .. r.fence .. '|' .. worker)
  r.attempts = str(tonumber(attempt) - 1)
  if call('HGET', P .. ':out', ':unserved:' .. step) == false then
    call('HSET', P .. ':out', ':unserved:' .. step, now_text .. '|' .. ARGV[10])
  end
else
  plan_record(P, plan, 'r|' .. str(at) .. '|' .. epoch .. '|' .. step .. '|' .. attempt .. '|' .. ARGV[10])
end
r.at, r.due = str(at), r.wait == 't' and r.due or ''
local uncertain = attempt_hand_back(q, a, id, p, r, not undo, delay, now)
call('HSET', P .. ':open', step, open_encode(r))
plan_settle(T, P, plan, p, { uncertain = uncertain and 1 or nil }, now)
return fetch_after('OK', T, queue, own, token, worker, lock_ms, now)
