--[[
  Ends a step that has failed for good. Steps that don't need it go on, unless the definition says failFast.

  KEYS[1] <tag>:worker:<id>:own        hash  token -> queue and job
  KEYS[2] <tag>:plan:<id>              hash  and the other keys of the plan, of the queue and of the jobs it adds
  ARGV[1] key prefix of the shard   ARGV[2] queue   ARGV[3] plan   ARGV[4] step   ARGV[5] epoch   ARGV[6] token
  ARGV[7] attempt   ARGV[8] worker   ARGV[9] ms that the next job's lock lasts, 0 to fetch none
  ARGV[10] error (JSON)   ARGV[11] 1 where the plan stops at its first failure

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
queue_drop_job(q, id)
r.state = 'f'
r.failures = str(tonumber(r.failures) + 1)
r.at, r.due, r.wait = str(now - p.created), '', ''
call('HSET', P .. ':open', step, open_encode(r))
call('HSET', P .. ':out', ':error:' .. step, ARGV[10])
plan_record(P, plan, 'f|' .. r.at .. '|' .. epoch .. '|' .. step .. '|' .. attempt .. '|1||' .. ARGV[10])
if ARGV[11] == '1' then
  -- The others are held and their jobs stale: in a new epoch none of them can write.
  plan_hold(T, P, plan, p, { q = true, d = true, b = true, r = true }, 'failed')
  call('HINCRBY', P, 'epoch', 1)
  call('HSET', P, 'failed', str(p.failed + 1), 'updated', now_text, 'revision', str(p.revision + 1))
  call('HSET', P, 'pausing', '')
  plan_set_state(T, P, plan, p.state, 'failed')
  plan_record(P, plan, 'z|' .. r.at .. '|' .. epoch .. '|failed')
else
  plan_settle(T, P, plan, p, { failed = 1 }, now)
end
return fetch_after('OK', T, queue, own, token, worker, lock_ms, now)
