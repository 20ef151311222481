--[[
  The part of lean-queue.lua that a step needs whose plan goes on in the same slot. See there.
]]
local call = redis.call

-- What `Job#addJob` stores for { attempts: 1, removeOnComplete: true, removeOnFail: true }.
local JOB_OPTS = '{"attempts":1,"removeOnComplete":true,"removeOnFail":true}'
-- paused, global concurrency, rate limit (max, duration)
local function queue_attributes(q)
  return call('HMGET', q .. 'meta', 'paused', 'concurrency', 'max', 'duration')
end

-- The lock and the place on the active list of a job that a slot takes.
local function queue_activate(q, id, token, lock_ms)
  call('LPUSH', q .. 'active', id)
  call('SET', q .. id .. ':lock', token, 'PX', lock_ms)
end

-- What queue_add and queue_fetch come to for a job that the same slot runs at once, without the way through the list.
local function queue_add_active(q, id, data, now, token, lock_ms)
  call('HSET', q .. id, 'name', 'step', 'data', data, 'opts', JOB_OPTS, 'timestamp', now, 'delay', '0', 'priority', '0',
    'processedOn', now, 'ats', '1')
  queue_activate(q, id, token, lock_ms)
end

-- A step's job is nobody's parent: it has no other keys.
local function queue_drop_job(q, id)
  local k = q .. id
  call('DEL', k, k .. ':lock', k .. ':logs')
end

-- Takes the job off the active list: the last thing that can refuse, and the first write.
local function queue_acknowledge(q, id)
  return call('LREM', q .. 'active', '-1', id) > 0
end
