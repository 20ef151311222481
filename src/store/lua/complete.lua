--[[
  The one write: acknowledges the job, records the step, its checkpoint and the plan's metadata, releases the steps
  that became free, and fetches this slot's next job. All of it or none.

  KEYS[1] <tag>:worker:<id>:own        hash  token -> queue and job
  KEYS[2] <tag>:plan:<id>              hash  and the other keys of the plan, of the queue and of the jobs it adds
  ARGV[1] key prefix of the shard   ARGV[2] queue   ARGV[3] plan   ARGV[4] step   ARGV[5] epoch   ARGV[6] token
  ARGV[7] attempt   ARGV[8] worker   ARGV[9] ms that the next job's lock lasts, 0 to fetch none
  ARGV[10] output (JSON)   ARGV[11] checkpoint id
  ARGV[12] p where the case may be the plain one: a plan without a sandbox and without a saved cursor, whose only
  successor needs nothing else, is in the same queue and may have this slot. Else 1 where the slot may go on with this
  plan, 0 where not; then s where the step has a saved cursor, which its record makes needless; then, where the plan has
  grown, g and how it has grown, as the worker knows it; then the snapshot (JSON) of a sandbox that it changed
  ARGV[13…] successors: step, number of needs, queue, phase, traits

  Returns { verdict, now, … } with the next job, as fetch_reply says; verdict OK, DUP, LOST, FENCED, or GROWN: the plan has
  steps that the worker doesn't know; nothing is written, and the slot keeps its step. Or
  { HANDED, now, fence }: recorded, and the slot goes on with the plan's next step.
]]
--#include ../../queue/lua/lean-core.lua
--#include plan-core.lua
local T, queue, plan, step, epoch, token, attempt, worker, lock_ms =
  ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local own, P, q, id, now = KEYS[1], KEYS[2], T .. queue .. ':', job_id(plan, step, epoch), redis_now()

--[[
  The plain case: the only step that needed this one goes to this very slot, started here, without the way through the
  queue. Most steps cost just this, so it goes straight on, without a function or a table that it can do without. What
  isn't plain (a refusal, a queue that is paused, limited or capped, a plan that is pausing) is left to `otherwise`,
  with nothing written.
]]
local function hand_on()
  local open, history, out = P .. ':open', P .. ':history', P .. ':out'
  local attempts, line, holder, at, fence = string.match(call('HGET', open, step) or '',
    '^r|(%d+)|%d+|%d+|(%d+)|([^|]*)|(%d+)|%-?%d*|%a?|[^|]*|[^|]*|(%d+)|')
  if holder ~= token or attempts ~= attempt or call('GET', q .. id .. ':lock') ~= token then return end
  local p = call('HMGET', P, 'epoch', 'state', 'created', 'fence', 'backlog', 'pausing', 'decision', 'phase')
  if p[1] ~= epoch or p[2] ~= 'running' or p[5] ~= '' or p[6] ~= '' then return end
  local attributes = queue_attributes(q)
  if attributes[1] or attributes[2] or attributes[3] then return end
  local place = queue_place(q, id)
  if not place then return end
  -- A key of a wrong type raises here, or with the first write.
  call('LLEN', history)
  call('HSTRLEN', out, step)

  local next_step, phase, created, next_fence = ARGV[13], ARGV[16], p[3], now_text
  if now <= tonumber(p[4]) then next_fence = str(p[4] + 1) end
  local next_at = str(now - created)
  local next_fence_at = next_fence == now_text and next_at or str(next_fence - created)
  call('HSET', P .. ':steps', step, 'c|' .. attempts .. '|' .. line .. '|' .. token .. '|' .. at .. '|' .. str(next_at - at)
    .. '|' .. (fence == at and '0' or str(fence - at)))
  call('HSET', open, next_step, 'r|1|0|0|' .. line .. '|' .. token .. '|' .. next_at .. '|||' .. queue .. '|' .. phase .. '|'
    .. next_fence_at .. '|' .. ARGV[17])
  call('HDEL', open, step)
  if ARGV[10] ~= 'null' then call('HSET', out, step, ARGV[10]) end
  local completed = 'c|' .. next_at .. '|' .. epoch .. '|' .. step .. '|' .. attempts .. '|' .. fence .. '|' .. p[7] .. '|'
  local started = 's|' .. next_at .. '|' .. epoch .. '|' .. next_step .. '|1|' .. next_fence_at .. '|' .. worker
  call('RPUSH', history, completed, started)
  -- The stream is trimmed where a plan ends.
  call('XADD', T .. 'events', '*', plan, completed, plan, started)
  local next_id = job_id(plan, next_step, epoch)
  queue_replace(q, place, id, next_id, job_data(plan, next_step, epoch), now_text)
  call('HSET', own, token, queue .. ' ' .. next_id)
  call('HSET', P, 'fence', next_fence, 'last_completed_step', step, 'last_checkpoint_id', ARGV[11])
  if phase ~= p[8] then call('HSET', P, 'phase', phase) end
  return { 'HANDED', now_text, next_fence }
end
local handed = ARGV[12] == 'p' and hand_on()
if handed then return handed end

-- Everything else. Its functions are made only here: making them costs as much as the plain case.
local function otherwise()
--#include start.lua
--#include attempt-check.lua
--#include step-record.lua
--#include completion.lua
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

  local refusal, p, r = attempt_refusal(q, P, id, step, epoch, token, attempt)
  local hands_off, saved, known, snapshot = string.match(ARGV[12], '^([p01])(s?)g?(%d*)(.*)$')
  -- Another step may need this one by now.
  if not refusal and p.grown ~= '0' and p.grown ~= known then return { 'GROWN', now_text, '', 0, '0' } end
  if not refusal and not queue_acknowledge(q, id) then refusal = 'LOST' end
  if refusal then
    attempt_discard(q, id, refusal)
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
end
return otherwise()
