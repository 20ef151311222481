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

--[[
  Acknowledges the job at that place and puts another there, as if it had been added and fetched: the slot goes on with it.
  The acknowledged job's own hash and lock become the other's, which costs less than to delete and to make them.
]]
local function queue_replace(q, place, id, next_id, data, now)
  local k, next_k = q .. id, q .. next_id
  call('LSET', q .. 'active', place, next_id)
  call('RENAME', k .. ':lock', next_k .. ':lock')
  if redis.pcall('RENAME', k, next_k).err then
    call('HSET', next_k, 'name', 'step', 'opts', JOB_OPTS, 'delay', '0', 'priority', '0')
  end
  call('HSET', next_k, 'data', data, 'timestamp', now, 'processedOn', now, 'ats', '1')
end
