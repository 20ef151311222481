--[[
  Ends a step that leaves no output and counts as done: its condition doesn't hold, or it has failed for good and the plan
  goes on without it. What needs it is released as by a commit.

  KEYS[1] <tag>:worker:<id>:own        hash  token -> queue and job
  KEYS[2] <tag>:plan:<id>              hash  and the other keys of the plan, of the queue and of the jobs it adds
  ARGV[1…9] as in complete.lua   ARGV[10] n (its condition doesn't hold) or o (it failed)   ARGV[11] error (JSON), or empty
  ARGV[12] checkpoint id   ARGV[13] how the plan has grown, as the worker knows it
  ARGV[14…] successors: step, number of needs, queue, phase, traits

  Returns { verdict, now, … } with the next job, as fetch_reply says; verdict OK, DUP, LOST, FENCED, or GROWN: the plan has
  steps that the worker doesn't know; nothing is written, and the slot keeps its step.
]]
--#include ../../queue/lua/lean-queue.lua
--#include plan.lua
--#include start.lua
--#include attempt.lua
--#include completion.lua
local T, queue, plan, step, epoch, token, attempt, worker, lock_ms =
  ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local own, P, q, id, now = KEYS[1], KEYS[2], T .. queue .. ':', job_id(plan, step, epoch), redis_now()
local refusal, p, r = attempt_refusal(T, q, P, id, step, epoch, token, attempt)
if not refusal and p.grown ~= ARGV[13] then return { 'GROWN', now_text, '', 0, '0' } end
if not refusal and not queue_acknowledge(q, id) then refusal = 'LOST' end
if refusal then
  attempt_discard(T, q, id, refusal, now)
  return fetch_after(refusal, T, queue, own, token, worker, lock_ms, now)
end
queue_drop_job(q, id)

local error, cache = ARGV[11], {}
if error ~= '' then
  call('HDEL', P .. ':out', ':error:' .. step)
  call('HSET', P .. ':out', ':failed:' .. step, error)
  plan_record(P, plan, 'f|' .. str(now - p.created) .. '|' .. epoch .. '|' .. step .. '|' .. attempt .. '|1||' .. error)
end
local writer = { as = ARGV[10], token = token, attempts = attempt, line = r.line, at = r.at, fence = r.fence }
local fields = completion_record(T, P, plan, step, p, r, writer, 'null', ARGV[12], 's', '', now, cache)
steps_release(T, P, plan, p, successors_free(P, 14), cache)
plan_settle(T, P, plan, p, { fields = fields }, now)
return fetch_after('OK', T, queue, own, token, worker, lock_ms, now, cache)
