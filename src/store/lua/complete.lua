--[[
  The one write: acknowledges the job, records the step, its checkpoint and the plan's metadata, releases the steps
  that became free, and fetches this slot's next job. All of it or none.

  KEYS[1] <tag>:worker:<id>:own        hash  token -> queue and job
  KEYS[2] <tag>:plan:<id>              hash  and the other keys of the plan, of the queue and of the jobs it adds
  ARGV[1] key prefix of the shard   ARGV[2] queue   ARGV[3] plan   ARGV[4] step   ARGV[5] epoch   ARGV[6] token
  ARGV[7] attempt   ARGV[8] worker   ARGV[9] ms that the next job's lock lasts, 0 to fetch none
  ARGV[10] output (JSON)   ARGV[11] checkpoint id   ARGV[12] 1 where the slot may go on with the plan's only next step,
  else 0; then s where the step has a saved cursor, which its record makes needless; then the snapshot (JSON) of a
  sandbox that it changed
  ARGV[13…] successors: step, number of needs, queue, phase, traits

  Returns { verdict, now, … } with the next job, as fetch_reply says; verdict OK, DUP, LOST or FENCED. Or
  { OK, now, job id, 'handed', step, line, fence }: the slot's next step is the plan's next one.
]]
--#include ../../queue/lua/lean-core.lua
--#include plan-core.lua
--#include attempt-check.lua
--#include step-record.lua
local T, queue, plan, step, epoch, token, attempt, worker, lock_ms =
  ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local own, P, q, id, now = KEYS[1], KEYS[2], T .. queue .. ':', job_id(plan, step, epoch), redis_now()
local refusal, p, r = attempt_refusal(q, P, id, step, epoch, token, attempt)
local attributes = queue_attributes(q)
if not refusal and not queue_acknowledge(q, id) then refusal = 'LOST' end

local free, writer
if not refusal then
  queue_drop_job(q, id)
  writer = { token = token, attempts = attempt, line = r.line, at = r.at, fence = r.fence }
  free = successors_free(P, 13)
end

--[[
  The plain case: the only step that became free goes to this very slot, started here, without the way through the
  queue. Not where the queue is paused, limited or capped, nor more often in a row than ARGV[12] allows, so that other
  plans get their turn.
]]
if free and #free == 1 and ARGV[12] == '1' and lock_ms ~= '0' and ARGV[free[1] + 2] == queue and p.state == 'running'
  and not (p.pausing or p.backlog or p.sandbox or attributes[1] or attributes[2] or attributes[3]) then
  local next_step, phase, traits = ARGV[free[1]], ARGV[free[1] + 3], ARGV[free[1] + 4]
  local fence, at = math.max(tonumber(p.fence) + 1, now), str(now - p.created)
  local fence_at, next_id = str(fence - p.created), job_id(plan, next_step, epoch)
  local fields = step_record(P, plan, step, p, writer, ARGV[10], ARGV[11], '', now,
    's|' .. at .. '|' .. epoch .. '|' .. next_step .. '|1|' .. fence_at .. '|' .. worker)
  call('HSET', P .. ':open', next_step,
    'r|1|0|0|' .. p.line .. '|' .. token .. '|' .. at .. '|||' .. queue .. '|' .. phase .. '|' .. fence_at .. '|' .. traits)
  queue_add_active(q, next_id, job_data(plan, next_step, epoch), now_text, token, lock_ms)
  call('HSET', own, token, queue .. ' ' .. next_id)
  call('HSET', P, 'revision', str(p.revision + 1), 'done', str(p.done + 1), 'fence', str(fence), 'updated', now_text,
    'phase', phase, unpack(fields))
  publish(T)
  return { 'OK', now_text, next_id, 'handed', next_step, p.line, str(fence) }
end

-- Everything else. Its functions are made only here: making them costs as much as the plain case.
local function otherwise()
--#include start.lua
--#include plan.lua
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

  local cache = { [q] = attributes }
  if refusal then
    attempt_discard(q, id, refusal)
    return fetch_after(refusal, T, queue, own, token, worker, lock_ms, now, cache)
  end
  local hands_off, saved, snapshot = string.match(ARGV[12], '^([01])(s?)(.*)$')
  if snapshot ~= '' then p.sandbox = str(call('RPUSH', P .. ':sandboxes', snapshot)) end
  local fields = step_record(P, plan, step, p, writer, ARGV[10], ARGV[11], '', now)
  if saved ~= '' then call('HDEL', P .. ':saved', step) end
  if p.sandbox then
    fields[5], fields[6] = 'sandbox', p.sandbox
    cache.queued = {}
    exclusive_leave(T, P, plan, p, step, r, cache)
  end
  steps_release(T, P, plan, p, free, cache)
  plan_settle(T, P, plan, p, { done = 1, fields = fields }, now)
  local wanted = cache.queued and hands_off == '1' and nearest_step(cache.queued, queue)
  if wanted then
    wanted = job_id(plan, wanted, epoch)
    queue_bring_forward(q, wanted)
  end
  return fetch_after('OK', T, queue, own, token, worker, lock_ms, now, cache, wanted)
end
return otherwise()
