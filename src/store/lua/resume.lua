--[[
  Carries out a decision to resume: the one write of it. Compares the revision that the decision was made from, looks
  again whether anybody alive has the plan or can take it, raises the epoch, supersedes what a rewind supersedes and
  queues the frontier.

  KEYS[1] <tag>:plan:<id>   hash   and the other keys of the plan, its queues and the jobs it adds
  KEYS[2] <tag>:workers     zset   worker -> last beat
  ARGV[1] key prefix of the shard   ARGV[2] plan   ARGV[3] revision   ARGV[4] epoch   ARGV[5] request id or empty
  ARGV[6] answer to store with it   ARGV[7] actor   ARGV[8] reason   ARGV[9] the point resumed from, or empty
  ARGV[10] private queue or empty   ARGV[11] workdir or empty   ARGV[12] ms after which a silent worker is dead
  ARGV[13] workers known to be gone, each followed by a space   ARGV[14] phase
  ARGV[15] last completed step   ARGV[16] last checkpoint   ARGV[17] place of the decision in force
  ARGV[18] place of the sandbox in force   ARGV[19] step whose decision is taken anew   ARGV[20] place of that decision
  ARGV[21] what it is set to (a decision, JSON), or empty   ARGV[22] its key, or empty where it answers what the step waits for
  ARGV[23] effect of that answer: empty or cancel   ARGV[24] output of that answer (JSON)
  ARGV[25] snapshot of the files that it discards (JSON), or empty
  ARGV[26] definition that is adopted, or empty   ARGV[27] its version   ARGV[28] its number of steps
  ARGV[29] number of superseded steps   ARGV[30] number of recounted steps   ARGV[31] number of acknowledged steps, then
  superseded: step …   recounted: step, done needs …
  acknowledged: step, done or redo, output (JSON), decision (JSON), number of successors, successors as in complete.lua …
  frontier: step, queue, phase, traits …

  ARGV[15…24] say what a rewind goes back to: empty where nothing is superseded.

  Returns OK, REPEATED <answer>, STALE, NOPLAN or NODEFINITION (upload what is adopted and ask again).
]]
--#include ../../queue/lua/lean-queue.lua
--#include plan.lua
--#include definition.lua
--#include attempt.lua
--#include answer.lua
-- An event names at most this many superseded steps.
local MOST_NAMED = 500
local T, plan, P, now = ARGV[1], ARGV[2], KEYS[1], redis_now()
local p = attempt_facts(P)
if not p.epoch then return 'NOPLAN' end
if ARGV[5] ~= '' then
  local answer = call('HGET', P .. ':requests', 'resume:' .. ARGV[5])
  if answer then return 'REPEATED ' .. answer end
end
if plan_revision(P) ~= ARGV[3] or p.epoch ~= ARGV[4] then return 'STALE' end
if ARGV[26] ~= '' and call('HEXISTS', T .. 'def:' .. ARGV[26], ':complete') == 0 then return 'NODEFINITION' end

local alive_since, gone = now - tonumber(ARGV[12]), ARGV[13]
local function alive(worker)
  if string.find(gone, worker .. ' ', 1, true) then return false end
  local beat = call('ZSCORE', KEYS[2], worker)
  return beat and tonumber(beat) > alive_since
end
local function served(queue)
  for _, worker in ipairs(call('ZREVRANGEBYSCORE', T .. 'serving:' .. queue, '+inf', '(' .. str(alive_since))) do
    if alive(worker) then return true end
  end
  return false
end
local open, by_queue = call('HGETALL', P .. ':open'), {}
for i = 1, #open, 2 do
  local r = open_decode(open[i + 1])
  if r.state == 'r' and alive(token_worker(r.token)) then return 'STALE' end
  if string.find('qdblk', r.state, 1, true)
    -- A pause has taken the job of what waits.
    or (r.state == 'w' and p.state ~= 'paused' and r.due ~= '' and tonumber(r.due) <= now - p.created) then
    if by_queue[r.queue] == nil then by_queue[r.queue] = served(r.queue) end
    if by_queue[r.queue] then return 'STALE' end
  end
end

local function keep_aside(hash, field, aside)
  local value = call('HGET', hash, field)
  if not value then return end
  call('HSET', hash, aside, value)
  call('HDEL', hash, field)
end

local epoch = str(tonumber(p.epoch) + 1)
local superseded_count, recounted_count, acked_count = tonumber(ARGV[29]), tonumber(ARGV[30]), tonumber(ARGV[31])
local at, line, cache = now - p.created, p.line, {}
local waiting = 0

limits_clear(T, plan, p.epoch, open, now)
if ARGV[26] ~= '' then definition_used(T, ARGV[26], now) end
-- A job of the old epoch is stale wherever it is. In a queue that only this plan used, nobody would ever drop it.
local old_queues = {}
for i = 1, #open, 2 do
  local step, r = open[i], open_decode(open[i + 1])
  local q, id = T .. r.queue .. ':', job_id(plan, step, p.epoch)
  if r.state == 'r' then
    plan_record(P, plan, 'x|' .. str(at) .. '|' .. p.epoch .. '|' .. step .. '|' .. r.attempts .. '|' .. token_worker(r.token))
    call('LREM', q .. 'active', -1, id)
    attempt_leave(T, r, id, now)
    queue_drop_job(q, id)
  end
  if queue_is_private(r.queue) then
    call('LREM', q .. 'wait', 0, id)
    call('LREM', q .. 'active', 0, id)
    call('ZREM', q .. 'delayed', id)
    call('ZREM', q .. 'prioritized', id)
    queue_drop_job(q, id)
    old_queues[q] = true
  elseif r.state == 'd' or (r.state == 'w' and r.due ~= '') then
    timer_remove(T, plan, step, p.epoch, r)
  end
end
for q in pairs(old_queues) do queue_drop_if_empty(q) end

if superseded_count > 0 then line = epoch end
local superseded = {}
for i = 32, 31 + superseded_count do
  local step = ARGV[i]
  superseded[step] = true
  local record = call('HGET', P .. ':steps', step)
  local attempts = string.match(record or call('HGET', P .. ':open', step), '^%a|(%d+)|')
  call('HDEL', P .. ':steps', step)
  call('HDEL', P .. ':open', step)
  call('HDEL', P .. ':out', ':error:' .. step, ':failed:' .. step, ':ask:' .. step, ':unserved:' .. step,
    ':progress:' .. step)
  -- What the old line left is kept under its last epoch: the new one begins with attempt 1 and without an output.
  local old = step .. '@' .. p.epoch
  keep_aside(P .. ':out', step, old)
  for attempt = 1, tonumber(attempts) do
    keep_aside(P .. ':logs', step .. '/' .. attempt, old .. '/' .. attempt)
    keep_aside(P .. ':logs', step .. '/' .. attempt .. ':bytes', old .. '/' .. attempt .. ':bytes')
  end
end
if superseded_count > 0 then steps_forget(P, superseded, ARGV[19], tonumber(ARGV[20])) end
if superseded_count > 0 and p.grown ~= '0' then growth_undo(P, p, superseded) end
local frontier = 32 + superseded_count
for _ = 1, recounted_count do
  if ARGV[frontier + 1] == '0' then
    call('HDEL', P .. ':needs', ARGV[frontier])
  else
    call('HSET', P .. ':needs', ARGV[frontier], ARGV[frontier + 1])
  end
  frontier = frontier + 2
end

call('HSET', P, 'epoch', epoch, 'line', line)
call('HSET', P, 'queue', ARGV[10])
if ARGV[26] ~= '' then
  call('HSET', P, 'definition', ARGV[26], 'version', ARGV[27], 'total', ARGV[28])
  p.total = tonumber(ARGV[28])
end
if ARGV[11] ~= '' then call('HSET', P .. ':origin', 'workdir', ARGV[11]) end
lanes_clear(P, p, open)
turns_clear(P, p)
call('HSET', P, 'pausing', '')
plan_record(P, plan, 'R|' .. str(at) .. '|' .. epoch .. '|' .. ARGV[7] .. '|' .. ARGV[9] .. '|' .. superseded_count .. '|' .. ARGV[8])
if ARGV[26] ~= '' then plan_record(P, plan, 'V|' .. str(at) .. '|' .. epoch .. '|' .. ARGV[27] .. '|' .. ARGV[26]) end
for from = 32, 31 + superseded_count, MOST_NAMED do
  local named = table.concat(ARGV, ' ', from, math.min(from + MOST_NAMED - 1, 31 + superseded_count))
  plan_record(P, plan, 'U|' .. str(at) .. '|' .. epoch .. '|' .. named)
end
if ARGV[25] ~= '' then
  plan_record(P, plan, 'K|' .. str(at) .. '|' .. epoch .. '|' .. str(call('RPUSH', P .. ':sandboxes', ARGV[25])))
end
if superseded_count > 0 then
  p.decision, p.sandbox = ARGV[17], ARGV[18] ~= '' and ARGV[18]
  call('HSET', P, 'decision', p.decision, 'last_decision_id', decision_id(p, p.decision), 'sandbox', ARGV[18],
    'last_completed_step', ARGV[15], 'last_checkpoint_id', ARGV[16])
end
local queued = 0
p.epoch, p.line = epoch, line

-- A decision that is set instead of being asked again: its step finds it recorded, or finds its answer kept.
if ARGV[21] ~= '' and ARGV[22] ~= '' then
  choice_record(P, plan, p, ARGV[19], ARGV[22], ARGV[21], ARGV[7], at)
elseif ARGV[21] ~= '' then
  call('HSET', P .. ':signals', ARGV[19], answer_encode(ARGV[23], ARGV[7], ARGV[21], ARGV[24]))
end

--[[
  What a person said of steps that may have happened: done, and they are recorded as that; redo, and they run again
  with the frontier. Both are decisions of that person.
]]
for _ = 1, acked_count do
  local step, said, output, decision = ARGV[frontier], ARGV[frontier + 1], ARGV[frontier + 2], ARGV[frontier + 3]
  local first, last = frontier + 5, frontier + 4 + 5 * tonumber(ARGV[frontier + 4])
  frontier = last + 1
  decision_record(P, plan, p, step, decision, ARGV[7], at)
  if said == 'done' then
    local r = open_decode(call('HGET', P .. ':open', step))
    local writer = { token = r.token, attempts = r.attempts, line = r.line, at = r.at, fence = r.fence }
    local checkpoint = 'ckp_' .. crockford(p.created + tonumber(r.fence), 10) .. p.tag
    call('HSET', P, unpack(step_record(P, plan, step, p, writer, output, checkpoint, ARGV[7], now)))
    for _, i in ipairs(successors_free(P, first, last)) do
      step_release(T, P, plan, ARGV[i], p, ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], cache)
      queued = queued + 1
    end
  end
end

for i = frontier, #ARGV, 4 do
  local step, queue, phase = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local r = open_decode(call('HGET', P .. ':open', step))
  if not r then
    step_release(T, P, plan, step, p, queue, phase, ARGV[i + 3], cache)
    queued = queued + 1
  else
    r.queue, r.phase = queue, phase
    traits_set(r, ARGV[i + 3])
    local kept = (r.state == 'w' or r.state == 'h') and call('HEXISTS', P .. ':signals', step) == 1
    -- What is left of a timer, or of a wait that ends.
    local left = r.wait ~= '' and r.due ~= '' and tonumber(r.due) - at or 0
    if (r.state == 'w' or r.state == 'h') and left > 0 and not kept then
      r.state = 'w'
      waiting = waiting + 1
      call('HSET', P .. ':open', step, open_encode(r))
      local q = T .. queue .. ':'
      queue_add(q, attributes_of(cache, q), job_id(plan, step, epoch), job_data(plan, step, epoch), now_text, left, priority_of(r))
    elseif r.state == 'w' and r.due == '' and not kept then
      waiting = waiting + 1
      call('HSET', P .. ':open', step, open_encode(r))
    else
      if r.state == 'r' then r.crashes = str(tonumber(r.crashes) + 1) end
      if r.wait == 'q' then r.crashes, r.wait = '0', '' end
      r.failures, r.token = '0', ''
      -- One that was answered starts to wait again, and takes the answer.
      if kept then r.wait = '' end
      if r.wait == '' then r.due = '' end
      queued = queued + 1
      step_free(T, P, plan, step, p, r, cache)
    end
  end
end
local state = call('HLEN', P .. ':steps') >= p.total and 'completed' or queued > 0 and 'running' or 'waiting'
call('HSET', P, 'failed', '0', 'waiting', str(waiting), 'uncertain', '0', 'phase', ARGV[14])
if state == 'completed' then
  call('HSET', P, 'finished', now_text)
  plan_record(P, plan, 'z|' .. str(at) .. '|' .. epoch .. '|completed')
end
call('HINCRBY', P, 'resume_count', 1)
plan_set_state(T, P, plan, p.state, state)
-- Until something else happens to the plan, its steps wait for a worker: see `resumedAt` in src/core/plan.ts.
if ARGV[10] == '' then call('HSET', P, 'resumed', plan_revision(P)) end
if ARGV[5] ~= '' then call('HSET', P .. ':requests', 'resume:' .. ARGV[5], ARGV[6]) end
publish(T)
return 'OK'
