--[[
  Ends an attempt that waits for a person, a signal or a timer. No worker is held meanwhile. A signal that came early
  completes the step here and now.

  KEYS[1] <tag>:worker:<id>:own        hash  token -> queue and job
  KEYS[2] <tag>:plan:<id>              hash  and the other keys of the plan, of the queue and of the jobs it adds
  ARGV[1] key prefix of the shard   ARGV[2] queue   ARGV[3] plan   ARGV[4] step   ARGV[5] epoch   ARGV[6] token
  ARGV[7] attempt   ARGV[8] worker   ARGV[9] ms that the next job's lock lasts, 0 to fetch none
  ARGV[10] what it waits for: a (approval), s (signal), t (timer)   ARGV[11] ms until the timer is over, or empty
  ARGV[12] what is asked (JSON), or empty   ARGV[13] checkpoint id   ARGV[14…] successors: step, number of needs, queue, phase, traits

  Returns { verdict, now, … } with the next job, as fetch_reply says; verdict OK, DUP, LOST or FENCED.
]]
--#include ../../queue/lua/lean-queue.lua
--#include plan.lua
--#include start.lua
--#include attempt.lua
--#include answer.lua
local T, queue, plan, step, epoch, token, attempt, worker, lock_ms =
  ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local own, P, q, id, now = KEYS[1], KEYS[2], T .. queue .. ':', job_id(plan, step, epoch), redis_now()
local refusal, p, r = attempt_refusal(q, P, id, step, epoch, token, attempt)
if not refusal and not queue_acknowledge(q, id) then refusal = 'LOST' end
if refusal then
  attempt_discard(q, id, refusal)
  return fetch_after(refusal, T, queue, own, token, worker, lock_ms, now)
end
local a, at = queue_attributes(q), now - p.created
local kept = call('HGET', P .. ':signals', step)
if ARGV[12] ~= '' then call('HSET', P .. ':out', ':ask:' .. step, ARGV[12]) end
if kept and ARGV[10] ~= 't' then
  queue_drop_job(q, id)
  call('HDEL', P .. ':signals', step)
  answer_step(T, P, plan, step, p, r, kept, ARGV[13], 14, now)
  return fetch_after('OK', T, queue, own, token, worker, lock_ms, now)
end
r.state, r.wait, r.at, r.due = 'w', ARGV[10], str(at), ''
if ARGV[10] == 't' then
  local delay = tonumber(ARGV[11])
  r.due = str(at + delay)
  if p.pausing then
    r.state = 'h'
    queue_drop_job(q, id)
  else
    queue_delay(q, id, now, delay)
  end
else
  queue_drop_job(q, id)
end
call('HSET', P .. ':open', step, open_encode(r))
plan_record(P, plan, 'w|' .. r.at .. '|' .. epoch .. '|' .. step .. '|' .. attempt .. '|' .. r.wait .. '|' .. r.due)
plan_settle(T, P, plan, p, { waiting = r.state == 'w' and 1 or nil }, now)
return fetch_after('OK', T, queue, own, token, worker, lock_ms, now)
