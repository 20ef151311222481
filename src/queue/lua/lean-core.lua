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

-- A step's job is nobody's parent: it has no other keys.
local function queue_drop_job(q, id)
  local k = q .. id
  call('DEL', k, k .. ':lock', k .. ':logs')
end

-- Where on the active list the job is, or nil.
local function queue_place(q, id)
  return call('LPOS', q .. 'active', id, 'RANK', '-1')
end

-- Acknowledges the job at that place and puts another there, as if it had been added and fetched: the slot goes on with it.
local function queue_replace(q, place, id, next_id, data, now, token, lock_ms)
  local k = q .. next_id
  call('LSET', q .. 'active', place, next_id)
  queue_drop_job(q, id)
  call('HSET', k, 'name', 'step', 'data', data, 'opts', JOB_OPTS, 'timestamp', now, 'delay', '0', 'priority', '0',
    'processedOn', now, 'ats', '1')
  call('SET', k .. ':lock', token, 'PX', lock_ms)
end
