--[[
  The opening of every script that ends an attempt without a result: it names the arguments, checks that this attempt may
  still write, and acknowledges its job. A refused one goes no further; from here on nothing can refuse.

  KEYS[1] <tag>:worker:<id>:own        hash  token -> queue and job
  KEYS[2] <tag>:plan:<id>              hash  and the other keys of the plan, of the queue and of the jobs it adds
  ARGV[1] key prefix of the shard   ARGV[2] queue   ARGV[3] plan   ARGV[4] step   ARGV[5] epoch   ARGV[6] token
  ARGV[7] attempt   ARGV[8] worker   ARGV[9] ms that the next job's lock lasts, 0 to fetch none
  ARGV[10…] what the ending script says

  The script returns { verdict, now, … } with the next job, as fetch_reply says; verdict OK, DUP, LOST or FENCED.
]]
--#include ../../queue/lua/lean-queue.lua
--#include plan.lua
--#include start.lua
--#include attempt.lua
local T, queue, plan, step, epoch, token, attempt, worker, lock_ms =
  ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local own, P, q, id, now = KEYS[1], KEYS[2], T .. queue .. ':', job_id(plan, step, epoch), redis_now()
local refusal, p, r = attempt_refusal(T, q, P, id, step, epoch, token, attempt)
if not refusal and not queue_acknowledge(q, id) then refusal = 'LOST' end
if refusal then
  attempt_discard(T, q, id, refusal, now)
  return fetch_after(refusal, T, queue, own, token, worker, lock_ms, now)
end
attempt_leave(T, r, id, now)
