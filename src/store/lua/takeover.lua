--[[
  What a dead worker held goes back to its queues. Each job's lock is compared with the worker's own token and deleted
  with it, so that a zombie that wakes up later finds its step lost.

  A step that kills its workers must not kill them all. From its second crash on it is delayed, and runs alone in its
  process (see alone.lua); only a crash while it was alone is surely its own, and ends it once there were three in all.
]]
--#include fail-step.lua
local SUSPECT_AFTER, QUARANTINE_AFTER, MOST_DELAY_EXPONENT = 2, 3, 6

-- 2^crashes seconds, half of it more or less. Scripts have no chance of their own; fence and time will do.
local function crash_delay(crashes, r, now)
  local spread = (now + tonumber(r.fence) * 37) % 1000 / 1000
  return math.floor(2 ^ math.min(crashes, MOST_DELAY_EXPONENT) * 1000 * (0.5 + spread))
end

local function stops_at_first_failure(T, P)
  local head = call('HGET', T .. 'def:' .. call('HGET', P, 'definition'), ':head')
  local ok, definition = pcall(cjson.decode, head or '')
  return ok and definition.failFast == true
end

-- `crashed` says that the worker died with it: one that left in order, or never knew of the step, is no sign against it.
local function takeover_job(T, token, entry, worker, crashed, now)
  local queue, id = string.match(entry, '^(%S+) (.+)$')
  if not queue then return end
  local q = T .. queue .. ':'
  if call('GET', q .. id .. ':lock') ~= token then return end
  if not queue_acknowledge(q, id) then return end
  local a = queue_attributes(q)
  local plan, step, epoch = string.match(id, '^([^/]+)/(.+)/(%d+)$')
  if not plan then
    queue_put_back(q, a, id)
    return
  end
  local P = T .. 'plan:' .. plan
  local p, r = attempt_facts(P), open_decode(call('HGET', P .. ':open', step))
  if p.epoch ~= epoch or p.state == 'cancelled' or p.state == 'completed' or p.state == 'paused' or not r
    or r.state ~= 'r' or r.token ~= token then
    job_dismiss(T, q, id, now)
    return
  end
  attempt_leave(T, r, id, now)
  local at = now - p.created
  plan_record(P, plan, 'x|' .. str(at) .. '|' .. epoch .. '|' .. step .. '|' .. r.attempts .. '|' .. worker)
  local crashes = tonumber(r.crashes) + (crashed and 1 or 0)
  r.crashes, r.at, r.token = str(crashes), str(at), worker
  local alone = call('HGET', T .. 'worker:' .. worker, 'alone') == id .. '|' .. r.attempts
  local state
  if crashed and alone and crashes >= QUARANTINE_AFTER and not string.find(r.traits, 'i', 1, true) then
    queue_drop_job(q, id)
    r.wait = 'q'
    state = step_fail(T, P, plan, step, p, r, '{"code":"STEP_QUARANTINED","message":"it killed its worker ' .. str(crashes)
      .. ' times, at last while nothing else ran there"}', stops_at_first_failure(T, P), now)
  else
    local delay = crashed and crashes >= SUSPECT_AFTER and crash_delay(crashes, r, now) or 0
    local uncertain = attempt_hand_back(q, a, id, p, r, true, delay, now)
    call('HSET', P .. ':open', step, open_encode(r))
    if uncertain then turn_leave(T, P, plan, p, step, r, {}) end
    state = plan_settle(T, P, plan, p, { uncertain = uncertain and 1 or nil }, now)
  end
  if state == 'running' and queue_is_private(queue) then plan_interrupt(T, P, plan, p, now) end
end

-- Forgets a worker whose jobs are all dealt with.
local function worker_forget(T, worker)
  local info = T .. 'worker:' .. worker
  local facts = call('HMGET', info, 'queues', 'machine')
  for queue in string.gmatch(facts[1] or '', '%S+') do
    call('ZREM', T .. 'serving:' .. queue, worker)
    if queue_is_private(queue) then queue_drop_if_empty(T .. queue .. ':') end
  end
  if facts[2] then call('SREM', T .. 'machine:' .. facts[2], worker) end
  call('ZREM', T .. 'workers', worker)
  call('DEL', info, info .. ':own', info .. ':inbox')
end

-- Returns how many jobs it took, at most `most`. The worker is forgotten with its last one.
local function takeover(T, worker, most, crashed, now)
  local own = T .. 'worker:' .. worker .. ':own'
  local entries, taken = call('HGETALL', own), 0
  -- From here on a late beat or fetch of this worker is answered UNREGISTERED.
  call('ZREM', T .. 'workers', worker)
  for i = 1, #entries, 2 do
    if taken >= most then
      call('ZADD', T .. 'workers', 0, worker)
      return taken
    end
    takeover_job(T, entries[i], entries[i + 1], worker, crashed, now)
    call('HDEL', own, entries[i])
    taken = taken + 1
  end
  worker_forget(T, worker)
  return taken
end
