--[[
  A worker says that it lives, hears what it has to stop, and sweeps: workers that have been silent for too long, or
  whose process is gone from the caller's machine, lose their jobs to the queues.
  Limits that somebody waits for are looked at as well.
  If nobody has swept for a while, the store was away or nobody watched: then everybody gets time to be heard first,
  else every outage would look like the death of the whole fleet. The same where a third of the workers falls silent at once.

  KEYS[1] <tag>:workers   zset   KEYS[2] <tag>:worker:<id>   hash   KEYS[3] <tag>:worker:<id>:inbox   list
  KEYS[4] <tag>:sweep     hash   at, until, brake; page, round, cursor
  ARGV[1] key prefix of the shard   ARGV[2] worker   ARGV[3] state   ARGV[4] number of active steps
  ARGV[5] ms after which a silent worker is dead   ARGV[6…] workers whose process is gone

  Returns { OK or UNREGISTERED, now, workers of this machine, messages, jobs taken over, workers taken over, ms of silence of
  each that is new, plans to look at with mend.lua }.
]]
--#include ../../queue/lua/lean-queue.lua
--#include plan.lua
--#include attempt.lua
--#include takeover.lua
local SWEEP_GAP_MS, MOST_WORKERS, MOST_JOBS, BEAT_MS = 2500, 20, 200, 1000
local T, worker, dead_after, now = ARGV[1], ARGV[2], tonumber(ARGV[5]), redis_now()
if not call('ZSCORE', KEYS[1], worker) then return { 'UNREGISTERED', now_text, {}, {}, 0, {}, {}, {} } end
call('ZADD', KEYS[1], now, worker)
local facts = call('HMGET', KEYS[2], 'queues', 'machine')
for queue in string.gmatch(facts[1] or '', '%S+') do
  local q = T .. queue .. ':'
  if ARGV[3] == 'accepting' then
    call('ZADD', T .. 'serving:' .. queue, now_text, worker)
    -- A wake-up can be lost: Redis gives the marker to whoever has waited longest, and that may be a connection whose
    -- process is dead or stopped. Where jobs wait, somebody is woken again.
    if call('EXISTS', q .. 'wait', q .. 'prioritized') > 0 then queue_mark(q, queue_attributes(q)) end
  else
    call('ZREM', T .. 'serving:' .. queue, worker)
  end
end
call('HSET', KEYS[2], 'state', ARGV[3], 'active', ARGV[4])
local messages = call('LRANGE', KEYS[3], 0, -1)
if #messages > 0 then call('DEL', KEYS[3]) end

local sweep = call('HMGET', KEYS[4], 'at', 'until', 'brake')
local wait_until = tonumber(sweep[2] or 0)
if not sweep[1] or now - tonumber(sweep[1]) > SWEEP_GAP_MS then wait_until = now + dead_after end
local dead, jobs = {}, 0
for i = 6, #ARGV do
  if call('ZSCORE', KEYS[1], ARGV[i]) and ARGV[i] ~= worker then dead[#dead + 1] = ARGV[i] end
end
local brake = sweep[3]
if now >= wait_until then
  local silent = call('ZRANGEBYSCORE', KEYS[1], '-inf', now - dead_after, 'LIMIT', 0, MOST_WORKERS)
  -- Those that fell silent in one moment have beaten last at any time of the second before it. So all that miss a beat are
  -- counted when the first of them is due, or they would be taken over in twos and threes and never look like many.
  local late_after = math.min(dead_after, math.max(dead_after - BEAT_MS, 1.5 * BEAT_MS))
  local late = #silent > 0 and call('ZCOUNT', KEYS[1], '-inf', now - late_after) or 0
  if late >= 3 and late * 3 > call('ZCARD', KEYS[1]) and not brake then
    brake = '1'
    wait_until = now + dead_after
  else
    for _, id in ipairs(silent) do dead[#dead + 1] = id end
    if #silent == 0 then brake = false end
  end
end
call('HSET', KEYS[4], 'at', now_text, 'until', str(wait_until))
if brake then call('HSET', KEYS[4], 'brake', brake) elseif sweep[3] then call('HDEL', KEYS[4], 'brake') end
local silences = {}
for _, id in ipairs(dead) do
  -- 0 where an earlier sweep began with this worker.
  local beat = tonumber(call('ZSCORE', KEYS[1], id) or 0)
  if beat > 0 then silences[#silences + 1] = str(now - beat) end
  if jobs < MOST_JOBS then jobs = jobs + takeover(T, id, MOST_JOBS - jobs, true, now) end
end

-- Once a second somebody gets a page of the open plans, of which those matter that should move and have not.
local PAGE_EVERY_MS, ROUND_EVERY_MS, PAGE, QUIET_MS = 1000, 10000, 50, 5000
local quiet = {}
local pages = call('HMGET', KEYS[4], 'page', 'round', 'cursor')
local cursor = tonumber(pages[3] or 0)
if ARGV[3] == 'accepting' and now - tonumber(pages[1] or 0) >= PAGE_EVERY_MS
  and (cursor > 0 or now - tonumber(pages[2] or 0) >= ROUND_EVERY_MS) then
  local plans = call('ZRANGE', T .. 'plans:open', cursor, cursor + PAGE - 1)
  for _, plan in ipairs(plans) do
    local P = T .. 'plan:' .. plan
    local f = call('HMGET', P, 'state', 'created')
    if f[1] == 'running' or f[1] == 'queued' or f[1] == 'waiting' then
      local at = string.match(call('LINDEX', P .. ':history', -1) or '', '^%a|(%d+)') or 0
      if now - f[2] - at >= QUIET_MS then quiet[#quiet + 1] = plan end
    end
  end
  call('HSET', KEYS[4], 'page', now_text, 'round', cursor == 0 and now_text or pages[2], 'cursor', #plans == PAGE and cursor + PAGE or 0)
end
-- What is wrong with a limit stops nobody's beat.
if ARGV[3] == 'accepting' then pcall(limits_tend, T, now) end
publish(T)
return { 'OK', now_text, call('SMEMBERS', T .. 'machine:' .. (facts[2] or '')), messages, jobs, dead, silences, quiet }
