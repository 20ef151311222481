--[[
  BullMQ 6.7's data structures, driven directly: the few operations that steps need, each one equal in effect to
  BullMQ's own script (a differential test holds the two together), but checking before it writes and free of the
  arguments that steps never use. Two things are left out on purpose: steps write no events of the queue, whose
  stream would cost four writes a step and say less than the plan's history, and they don't count the queue's ids. And
  where much is due at once, it doesn't all join the queue at once.
  `q` is a queue's key prefix, with its last colon. Times are Redis time.
]]
--#include lean-core.lua

-- The lock and the place on the active list of a job that a slot takes.
local function queue_activate(q, id, token, lock_ms)
  call('LPUSH', q .. 'active', id)
  call('SET', q .. id .. ':lock', token, 'PX', lock_ms)
end

-- Takes the job off the active list: the last thing that can refuse, and the first write.
local function queue_acknowledge(q, id)
  return call('LREM', q .. 'active', '-1', id) > 0
end

-- A delayed job's score is its time, with 12 bits below it that keep jobs of one millisecond in order.
local SCORE_STEP = 0x1000

local function queue_closed(q, a)
  if a[1] then return true end
  return a[2] and call('LLEN', q .. 'active') >= tonumber(a[2])
end

local function queue_mark(q, a)
  if not queue_closed(q, a) then call('ZADD', q .. 'marker', '0', '0') end
end

local function queue_next_due(q)
  local first = call('ZRANGE', q .. 'delayed', '0', '0', 'WITHSCORES')
  return first[2] and tonumber(first[2]) / SCORE_STEP
end

local function queue_mark_delay(q)
  local due = queue_next_due(q)
  if due then call('ZADD', q .. 'marker', due, '1') end
end

local function queue_put_delayed(q, id, due)
  local low, high = due * SCORE_STEP, (due + 1) * SCORE_STEP - 1
  local last = call('ZREVRANGEBYSCORE', q .. 'delayed', high, low, 'WITHSCORES', 'LIMIT', 0, 1)
  local score = last[2] and math.min(tonumber(last[2]) + 1, high) or low
  call('ZADD', q .. 'delayed', string.format('%d', score), id)
  queue_mark_delay(q)
end

-- Jobs without a priority come before those that have one; of these, 1 comes first, and equal ones as they came.
local PRIORITY_STEP = 0x100000000

-- To the end of those that wait. `priority` is 0 where it has none.
local function queue_put_waiting(q, id, priority)
  if priority == 0 then
    call('LPUSH', q .. 'wait', id)
  else
    local count = call('INCR', q .. 'pc')
    call('ZADD', q .. 'prioritized', string.format('%.0f', priority * PRIORITY_STEP + count % PRIORITY_STEP), id)
  end
end

-- To the front of those that wait.
local function queue_put_first(q, id)
  local priority = tonumber(call('HGET', q .. id, 'priority')) or 0
  if priority == 0 then
    call('RPUSH', q .. 'wait', id)
  else
    call('ZADD', q .. 'prioritized', string.format('%.0f', priority * PRIORITY_STEP), id)
  end
end

-- `now` as a string: numbers are formatted anew by every call they are given to. `delay` in ms, or nil; `priority`, or nil.
local function queue_add(q, a, id, data, now, delay, priority)
  local fresh = call('HSET', q .. id, 'name', 'step', 'data', data, 'opts', JOB_OPTS, 'timestamp', now,
    'delay', delay or '0', 'priority', priority or '0')
  if fresh < 6 then
    -- BullMQ's add silently does nothing where the id exists; ours must happen, so what is left of the other goes.
    call('LREM', q .. 'wait', '0', id)
    call('ZREM', q .. 'delayed', id)
    call('ZREM', q .. 'prioritized', id)
    call('ZREM', q .. 'completed', id)
    call('ZREM', q .. 'failed', id)
    call('HDEL', q .. id, 'processedOn', 'ats', 'atm', 'finishedOn', 'failedReason', 'returnvalue')
  end
  if delay then
    queue_put_delayed(q, id, tonumber(now) + delay)
  else
    queue_put_waiting(q, id, tonumber(priority or 0))
    queue_mark(q, a)
  end
end

-- After queue_acknowledge: back to the front of the queue, and somebody is woken.
local function queue_put_back(q, a, id)
  call('DEL', q .. id .. ':lock')
  queue_put_first(q, id)
  queue_mark(q, a)
end

-- Makes a waiting job the next one. It was added just now, so it is found at once.
local function queue_bring_forward(q, id)
  if call('LREM', q .. 'wait', 1, id) == 1 then call('RPUSH', q .. 'wait', id) end
end

-- After queue_acknowledge: again after `delay` ms.
local function queue_delay(q, id, now, delay)
  call('DEL', q .. id .. ':lock')
  call('HSET', q .. id, 'delay', delay)
  queue_put_delayed(q, id, now + delay)
end

-- What is due joins those that wait while these are few, and one with each fetch in any case: thousands that are due at once,
-- as after an outage, would be in front of all that comes later.
local FEW_WAIT = 50

local function queue_promote_due(q, a, now)
  local due = call('ZRANGEBYSCORE', q .. 'delayed', '0', (now + 1) * SCORE_STEP - 1, 'LIMIT', '0', FEW_WAIT)
  if #due == 0 then return end
  local room = FEW_WAIT - call('LLEN', q .. 'wait') - call('ZCARD', q .. 'prioritized')
  for i = 1, math.min(#due, math.max(room, 1)) do
    local id = due[i]
    call('ZREM', q .. 'delayed', id)
    queue_put_waiting(q, id, tonumber(call('HGET', q .. id, 'priority')) or 0)
    call('HSET', q .. id, 'delay', '0')
  end
  queue_mark(q, a)
end

local function queue_pop(q)
  local id = call('RPOP', q .. 'wait')
  if id then return id end
  local first = call('ZPOPMIN', q .. 'prioritized')
  if first[1] then return first[1] end
  call('DEL', q .. 'pc')
end

-- Jobs that were passed over, in the order in which they were met, are in front again.
local function queue_put_back_passed(q, passed)
  if not passed then return end
  for i = #passed, 1, -1 do queue_put_first(q, passed[i]) end
  call('ZADD', q .. 'marker', '0', '0')
end

-- Stale jobs are dropped here and nowhere else: searching a long queue for them would block everybody.
local MOST_STALE_A_CALL = 200

--[[
  Moves the next job to active and locks it. `start(id)` says what to do with it: nil drops it as stale, 'placed' leaves it where
  `start` has put it, 'elsewhere' leaves it to others, anything else is returned with the id. Where `start` raises (a key on a slot
  in migration), the job is back where it was.
  Returns id, started; or nil, ms until the rate limit ends, time of the next delayed job.
]]
local function queue_fetch(q, a, token, lock_ms, now, start)
  queue_promote_due(q, a, now)
  local max = tonumber(a[3])
  if max and max <= tonumber(call('GET', q .. 'limiter') or 0) then
    local ttl = call('PTTL', q .. 'limiter')
    if ttl == 0 then call('DEL', q .. 'limiter') end
    if ttl > 0 then return nil, ttl, 0 end
  end
  if queue_closed(q, a) then return nil, 0, 0 end
  local passed
  for _ = 1, MOST_STALE_A_CALL do
    local id = queue_pop(q)
    if not id then
      queue_put_back_passed(q, passed)
      return nil, 0, queue_next_due(q) or 0
    end
    local ok, started = pcall(start, id)
    if not ok then
      queue_put_first(q, id)
      queue_put_back_passed(q, passed)
      error(started)
    elseif started == nil then
      queue_drop_job(q, id)
    elseif started == 'elsewhere' then
      passed = passed or {}
      passed[#passed + 1] = id
    elseif started ~= 'placed' then
      queue_put_back_passed(q, passed)
      if max then
        if call('INCR', q .. 'limiter') == 1 then call('PEXPIRE', q .. 'limiter', math.floor(math.abs(tonumber(a[4]) or 0))) end
      end
      queue_activate(q, id, token, lock_ms)
      call('HSET', q .. id, 'processedOn', string.format('%d', now))
      call('HINCRBY', q .. id, 'ats', '1')
      call('ZADD', q .. 'marker', '0', '0')
      return id, started
    end
  end
  queue_put_back_passed(q, passed)
  call('ZADD', q .. 'marker', '0', '0')
  return nil, 0, now
end

-- All keys of a queue that only one process used and that holds no job any more.
local function queue_drop_if_empty(q)
  if call('EXISTS', q .. 'wait', q .. 'active', q .. 'delayed', q .. 'prioritized') == 0 then
    call('DEL', q .. 'meta', q .. 'id', q .. 'events', q .. 'marker', q .. 'stalled', q .. 'limiter', q .. 'pc', q .. 'stalled-check')
  end
end
