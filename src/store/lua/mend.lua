--[[
  Looks at a plan that has not moved for a while, and puts right what nothing else would: whatever may run has a job, a
  timer or a wait with a time limit has one too, a running step an owner that is registered and knows it, and a
  backlog has steps in front of it. A plan whose only process is gone is interrupted. The epoch stays: siblings that run are not to be fenced.

  KEYS[1] <tag>:plan:<id>   hash   and the other keys of the plan   KEYS[2] <tag>:workers   zset
  ARGV[1] key prefix of the shard   ARGV[2] plan   ARGV[3] cursor, 0 at first   ARGV[4] ms that a lock lasts

  Returns { next cursor or 0, number of steps put right }.
]]
--#include ../../queue/lua/lean-queue.lua
--#include plan.lua
--#include attempt.lua
--#include takeover.lua
-- Steps looked at in one call; and how long a queue may be to be searched for a job.
local PAGE, MOST_SEARCHED = 200, 1000
local T, plan, P, lock_ms, now = ARGV[1], ARGV[2], KEYS[1], ARGV[4], redis_now()
local p = attempt_facts(P)
if p.pausing or not (p.state == 'running' or p.state == 'queued' or p.state == 'waiting') then return { '0', 0 } end

local private = call('HGET', P, 'queue')
if queue_is_private(private or '') and not call('ZSCORE', KEYS[2], string.sub(private, 5)) then
  if p.state == 'waiting' then return { '0', 0 } end
  plan_interrupt(T, P, plan, p, now)
  publish(T)
  return { '0', 1 }
end

local cache, mended = {}, 0

-- A job that is not where it should be. In a long queue it is taken to be there: the queue will be shorter one day.
local function is_missing(q, id)
  if call('EXISTS', q .. id) == 0 then return true end
  if call('ZSCORE', q .. 'delayed', id) or call('ZSCORE', q .. 'prioritized', id) then return false end
  return call('LLEN', q .. 'wait') <= MOST_SEARCHED and not call('LPOS', q .. 'wait', id)
end

local function mend_queued(step, r, q, id)
  if not is_missing(q, id) then return end
  call('LREM', q .. 'active', 0, id)
  local wait = r.due ~= '' and tonumber(r.due) - (now - p.created) or 0
  queue_add(q, attributes_of(cache, q), id, job_data(plan, step, p.epoch), now_text, wait > 0 and str(wait) or nil,
    priority_of(r))
  mended = mended + 1
end

local function mend_running(step, r, q, id)
  local worker = token_worker(r.token)
  local known, entry = call('ZSCORE', KEYS[2], worker), r.queue .. ' ' .. id
  local lock = call('GET', q .. id .. ':lock')
  if known then
    -- A lock lasts a month, a step may last longer. What the owner doesn't know of, its next audit gives back.
    if not lock then call('SET', q .. id .. ':lock', r.token, 'PX', lock_ms) end
    if (lock or r.token) == r.token then call('HSET', T .. 'worker:' .. worker .. ':own', r.token, entry) end
    if not call('LPOS', q .. 'active', id) then call('LPUSH', q .. 'active', id) end
    local key = place_of(r)
    if key then call('HSETNX', T .. 'limit:' .. key .. ':held', id, r.queue .. '|' .. r.token) end
    return
  end
  call('LREM', q .. 'active', 0, id)
  -- As it was before the loss, so that it is taken over like any other.
  queue_add(q, attributes_of(cache, q), id, job_data(plan, step, p.epoch), now_text, nil, priority_of(r))
  if priority_of(r) then call('ZREM', q .. 'prioritized', id) else call('LREM', q .. 'wait', 1, id) end
  queue_activate(q, id, r.token, lock_ms)
  takeover_job(T, r.token, entry, worker, true, now)
  p = attempt_facts(P)
  mended = mended + 1
end

-- A step that waits for a limit, and that nobody would ever call.
local function mend_limited(step, r)
  local key, rate = place_of(r), rate_of(r)
  local L = r.state == 'l' and T .. 'limit:' .. key or T .. 'rate:' .. rate
  if call('LPOS', L .. ':of:' .. plan, step) and call('ZSCORE', L .. ':turns', plan) and call('ZSCORE', T .. 'limits', string.sub(L, #T + 1)) then
    return
  end
  call('LREM', L .. ':of:' .. plan, 0, step)
  room_enter(T, L, plan, step, now)
  mended = mended + 1
end

-- Lanes with a backlog that were looked at: whether their list is lost.
local lost = {}

-- Nobody is in front of a backlog whose lane has no step in the queue. One with limits may have it in their rooms.
local function mend_backlog(step, r, q)
  local lane = lane_of(r)
  if lost[lane] == nil then
    lost[lane] = call('EXISTS', P .. ':backlog:' .. lane) == 0
    if not lost[lane] and not p.backlog then backlog_count(P, p, 1) end
    local alone = r.limits == '' and call('EXISTS', q .. 'wait', q .. 'prioritized') == 0
      or tonumber(call('HGET', P .. ':queued', lane) or 0) < 1
    if not lost[lane] and alone and lane_pull(T, P, plan, p, lane) then
      call('HINCRBY', P .. ':queued', lane, '1')
      mended = mended + 1
    end
  end
  if lost[lane] then
    behind_count(r.queue, -1)
    lane_join(T, P, plan, step, p, r, cache)
    mended = mended + 1
  end
end

local page = call('HSCAN', P .. ':open', ARGV[3], 'COUNT', PAGE)
for i = 1, #page[2], 2 do
  local step, r = page[2][i], open_decode(page[2][i + 1])
  local q, id = T .. r.queue .. ':', job_id(plan, step, p.epoch)
  if r.state == 'q' or r.state == 'd' or (r.state == 'w' and r.due ~= '') then
    mend_queued(step, r, q, id)
  elseif r.state == 'r' then
    mend_running(step, r, q, id)
  elseif r.state == 'b' then
    mend_backlog(step, r, q)
  elseif r.state == 'l' or r.state == 'k' then
    mend_limited(step, r)
  end
end
-- Steps that wait for the sandbox, and nobody has it.
if p.sandbox and call('LLEN', P .. ':exclusive') > 0
  and call('HEXISTS', P .. ':open', call('HGET', P, 'holder') or '') == 0 then
  exclusive_pass_on(T, P, plan, p, cache)
  mended = mended + 1
end
publish(T)
return { page[1], mended }
