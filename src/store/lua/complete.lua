--[[
  The one write: acknowledges the job, records the step, its checkpoint and the plan's metadata, releases the steps
  that became free, and fetches this slot's next job. All of it or none. hand-on.lua is the same for the plain case.

  KEYS[1] <tag>:worker:<id>:own        hash  token -> queue and job
  KEYS[2] <tag>:plan:<id>              hash  and the other keys of the plan, of the queue and of the jobs it adds
  ARGV[1] key prefix of the shard   ARGV[2] queue   ARGV[3] plan   ARGV[4] step   ARGV[5] epoch   ARGV[6] token
  ARGV[7] attempt   ARGV[8] worker   ARGV[9] ms that the next job's lock lasts, 0 to fetch none
  ARGV[10] output (JSON)   ARGV[11] checkpoint id
  ARGV[12] 1 where the slot may go on with this plan, 0 where not; then s where the step has a saved cursor, which its
  record makes needless; then, where the plan has grown, g and how it has grown, as the worker knows it; then the snapshot
  (JSON) of a sandbox that it changed
  ARGV[13…] successors: step, number of needs, queue, phase, traits

  Returns { verdict, now, … } with the next job, as fetch_reply says; verdict OK, DUP, LOST, FENCED, or GROWN: the plan has
  steps that the worker doesn't know; nothing is written, and the slot keeps its step.
]]
--#include start.lua
--#include attempt-check.lua
--#include step-record.lua
--#include completion.lua
local T, queue, plan, step, epoch, token, attempt, worker, lock_ms =
  ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local own, P, q, id, now = KEYS[1], KEYS[2], T .. queue .. ':', job_id(plan, step, epoch), redis_now()

-- The files of a sandbox are here already: the slot goes on with the step that writes them next, else with one that
-- reads them, else with the only one there is.
local function nearest_step(queued, at)
  for _, use in ipairs({ 'w', 'r' }) do
    for _, step in ipairs(queued) do
      if step.queue == at and string.find(step.traits, use, 1, true) then return step.step end
    end
  end
  return #queued == 1 and queued[1].queue == at and queued[1].step
end

local refusal, p, r = attempt_refusal(T, q, P, id, step, epoch, token, attempt)
local hands_off, saved, known, snapshot = string.match(ARGV[12], '^([01])(s?)g?(%d*)(.*)$')
-- Another step may need this one by now.
if not refusal and p.grown ~= '0' and p.grown ~= known then return { 'GROWN', now_text, '', 0, '0' } end
if not refusal and not queue_acknowledge(q, id) then refusal = 'LOST' end
if refusal then
  attempt_discard(T, q, id, refusal, now)
  return fetch_after(refusal, T, queue, own, token, worker, lock_ms, now)
end
queue_drop_job(q, id)
local writer, cache = { token = token, attempts = attempt, line = r.line, at = r.at, fence = r.fence }, {}
local fields = completion_record(T, P, plan, step, p, r, writer, ARGV[10], ARGV[11], saved, snapshot, now, cache)
steps_release(T, P, plan, p, successors_free(P, 13), cache)
plan_settle(T, P, plan, p, { fields = fields }, now)
local wanted = cache.queued and hands_off == '1' and nearest_step(cache.queued, queue)
if wanted then
  wanted = job_id(plan, wanted, epoch)
  queue_bring_forward(q, wanted)
end
return fetch_after('OK', T, queue, own, token, worker, lock_ms, now, cache, wanted)
