--[[
  Limits over all plans of the shard: `concurrency` lets so many attempts run at once that share a key, `rate` so many start
  within any window. Both are checked where a step is fetched, by its own numbers; who must wait leaves its queue for the
  limit's room, without a job and without a worker. `L` is a limit's key, T:limit:<key> or T:rate:<key>.

  L:held       hash  job -> its queue | what for. Of a concurrency: the token of an attempt, @ and a time for one that was called
                     and may lose its place after it, # for one that waits for its rate. Of a rate: # for one that was called
  L:turns      zset  plan -> its turn: plans that wait; each time one of a plan's steps is called, the plan goes to the end
  L:of:<plan>  list  its steps that wait, in their order
  L:starts     list  of a rate: times of the newest starts
  L:most       string  of a rate: how many of them somebody may ask for
  T:limits     zset  limits that somebody waits for -> when they are looked at next; see limits_tend

  A step that has both takes its place first, and keeps it while it waits for the rate.
]]
-- A place that was given to one that nobody has started for so long goes to others; and limits are looked at as often.
local CALL_LASTS_MS = 5000
-- A rate has at most this many steps called at once: each start calls the next.
local MOST_CALLED = 10
-- Calls of one transition. Each end of an attempt makes room for one; more of it is there only where limits change.
local MOST_CALLS = 20

local function turn_after_all(L)
  return str((call('ZRANGE', L .. ':turns', '-1', '-1', 'WITHSCORES')[2] or 0) + 1)
end

local function room_enter(T, L, plan, step, now)
  call('RPUSH', L .. ':of:' .. plan, step)
  call('ZADD', L .. ':turns', 'NX', turn_after_all(L), plan)
  call('ZADD', T .. 'limits', 'NX', str(now + CALL_LASTS_MS), string.sub(L, #T + 1))
end

-- When the next one may start, with `ahead` others before it. A start that is as old as the window is long counts no more.
local function rate_opens(L, max, per, ahead, now)
  local start = call('LINDEX', L .. ':starts', str(ahead - max))
  return start and math.max(now, tonumber(start) + per) or now
end

-- The step of the room whose turn it is, its plan, and the record of it where it does wait.
local function room_next(T, L)
  local plan = call('ZRANGE', L .. ':turns', '0', '0')[1]
  if not plan then return nil end
  local step = call('LINDEX', L .. ':of:' .. plan, '0') or ''
  local r = open_decode(call('HGET', T .. 'plan:' .. plan .. ':open', step))
  return plan, step, r and (r.state == 'l' or r.state == 'k') and r
end

-- Takes it out of the room; its plan's next turn comes after everybody else's.
local function room_leave(L, plan)
  call('LPOP', L .. ':of:' .. plan)
  if call('EXISTS', L .. ':of:' .. plan) == 0 then
    call('ZREM', L .. ':turns', plan)
  else
    call('ZADD', L .. ':turns', turn_after_all(L), plan)
  end
end

-- Whether anybody takes steps from it.
local function queue_is_served(T, queue, now)
  return call('ZCOUNT', T .. 'serving:' .. queue, str(now - 2 * CALL_LASTS_MS), '+inf') > 0
    and not call('HGET', T .. queue .. ':meta', 'paused')
end

-- Gives the place back, where the job has one.
local held_leave

--[[
  Calls who waits, plan by plan, as long as there is room: puts the step into its queue again, in front, or with a delay until
  its rate lets it start. What was called has its place, so that nobody who comes now can be before it. One whose queue nobody
  serves gets its job and no place: whoever takes that one day asks anew.
]]
local function room_call(T, L, now)
  local is_rate, cache, ready = string.sub(L, #T + 1, #T + 5) == 'rate:', {}, {}
  for _ = 1, MOST_CALLS do
    local plan, step, r = room_next(T, L)
    if not plan then break end
    local called, due = call('HLEN', L .. ':held'), now
    if r and is_rate then
      local _, max, per = rate_of(r)
      if called >= math.min(max, MOST_CALLED) then break end
      due = rate_opens(L, max, per, called, now)
    elseif r then
      local _, limit = place_of(r)
      if called >= limit then break end
    end
    room_leave(L, plan)
    if r then
      local P, q = T .. 'plan:' .. plan, T .. r.queue .. ':'
      local facts = call('HMGET', P, 'epoch', 'created')
      local id = job_id(plan, step, facts[1])
      if queue_is_served(T, r.queue, now) then
        call('HSET', L .. ':held', id, r.queue .. '|' .. (is_rate and '#' or '@' .. str(now + CALL_LASTS_MS)))
      else
        due = now
        if is_rate and place_of(r) then held_leave(T, T .. 'limit:' .. place_of(r), id, now) end
      end
      r.state = due > now and 'd' or 'q'
      if due > now then r.due = str(due - facts[2]) end
      call('HSET', P .. ':open', step, open_encode(r))
      queue_add(q, attributes_of(cache, q), id, job_data(plan, step, facts[1]), str(now), due > now and str(due - now) or nil,
        priority_of(r))
      if due == now then ready[#ready + 1] = { q, id } end
    end
  end
  -- The first that was called is the first in its queue.
  for i = #ready, 1, -1 do queue_bring_forward(ready[i][1], ready[i][2]) end
end

-- The others are called under pcall: what the caller has written stands, whatever happens to them; limits_tend goes on with it.
function held_leave(T, L, id, now)
  if call('HDEL', L .. ':held', id) == 1 then pcall(room_call, T, L, now) end
end

-- Drops the job, off the active list already, of an attempt that the plan went on without. The step's record may be another
-- one's by now: the job says where it had a place.
local function job_dismiss(T, q, id, now)
  local key = call('HGET', q .. id, 'limit')
  if key then held_leave(T, T .. 'limit:' .. key, id, now) end
  queue_drop_job(q, id)
end

-- An attempt of the step has ended.
local function attempt_leave(T, r, id, now)
  local key = r.limits ~= '' and place_of(r)
  if key then held_leave(T, T .. 'limit:' .. key, id, now) end
end

-- Whether the job has a place, or takes one: one is free, and nobody waits for it.
local function place_take(T, L, limit, id, holder)
  local held = L .. ':held'
  if call('HEXISTS', held, id) == 0 and (call('EXISTS', L .. ':turns') == 1 or call('HLEN', held) >= limit) then return false end
  call('HSET', held, id, holder)
  return true
end

--[[
  Whether a fetched step may start now. Where it may not, its record says what it waits for, and the second value tells its
  queue what becomes of the job: nil drops it, 'placed' says that it is in its place.
]]
local function limits_admit(T, P, plan, step, created, r, queue, id, token, now)
  local q = T .. queue .. ':'
  local key, limit = place_of(r)
  local rate, max, per = rate_of(r)
  if key then
    local L = T .. 'limit:' .. key
    if not place_take(T, L, limit, id, queue .. '|' .. (rate and '#' or token)) then
      r.state = 'l'
      call('HSET', P .. ':open', step, open_encode(r))
      room_enter(T, L, plan, step, now)
      return false
    end
  end
  if rate then
    local L = T .. 'rate:' .. rate
    local held = L .. ':held'
    local was_called, called = call('HEXISTS', held, id) == 1, call('HLEN', held)
    if not was_called and (call('EXISTS', L .. ':turns') == 1 or called >= math.min(max, MOST_CALLED)) then
      r.state = 'k'
      call('HSET', P .. ':open', step, open_encode(r))
      room_enter(T, L, plan, step, now)
      return false
    end
    local due = rate_opens(L, max, per, was_called and 0 or called, now)
    if due > now then
      call('HSET', held, id, queue .. '|#')
      r.state, r.due = 'd', str(due - created)
      call('HSET', P .. ':open', step, open_encode(r))
      queue_delay(q, id, now, due - now)
      return false, 'placed'
    end
    local most = math.max(max, tonumber(call('GET', L .. ':most') or 0))
    call('SET', L .. ':most', str(most))
    call('RPUSH', L .. ':starts', str(now))
    call('LTRIM', L .. ':starts', str(-most), '-1')
    -- Its time has come. Only who was parked looks at it.
    if r.wait == '' then r.due = '' end
    if was_called then held_leave(T, L, id, now) end
    if key then call('HSET', T .. 'limit:' .. key .. ':held', id, queue .. '|' .. token) end
  end
  if key then call('HSET', q .. id, 'limit', key) end
  return true
end

--[[
  Nothing of the plan waits for a limit any more, and what its steps were called for goes to others. What still runs keeps
  its place until its worker has heard of it. `open` is what was open, as HGETALL gives it.
]]
local function limits_clear(T, plan, epoch, open, now)
  -- First all that wait, so that none of them is called for the place of another.
  local called = {}
  for i = 1, #open, 2 do
    local r = open_decode(open[i + 1])
    if r.limits ~= '' and string.find('qdlk', r.state, 1, true) then
      local key, rate = place_of(r), rate_of(r)
      for _, L in ipairs({ key and T .. 'limit:' .. key or false, rate and T .. 'rate:' .. rate or false }) do
        if L then
          call('DEL', L .. ':of:' .. plan)
          call('ZREM', L .. ':turns', plan)
          called[#called + 1] = { L, job_id(plan, open[i], epoch) }
        end
      end
    end
  end
  for _, one in ipairs(called) do held_leave(T, one[1], one[2], now) end
end

-- Whether an attempt runs with that place, or a step was called or waits with it, and may go on so.
local function holder_is_real(T, id, holder, waited_for, now)
  local queue, what = string.match(holder, '^([^|]*)|(.*)$')
  local sign, time = string.match(what, '^([@#])(%d*)$')
  if not sign then return call('GET', T .. queue .. ':' .. id .. ':lock') == what end
  local plan, step, epoch = string.match(id, '^([^/]+)/(.+)/(%d+)$')
  local P = T .. 'plan:' .. plan
  local r = open_decode(call('HGET', P .. ':open', step))
  if not r or call('HGET', P, 'epoch') ~= epoch or not string.find('qdk', r.state, 1, true) then return false end
  if not waited_for then return true end
  if sign == '@' then return tonumber(time) >= now end
  return queue_is_served(T, queue, now)
end

--[[
  Looks at limits that somebody waits for: a holder that is none gives its place back, and so does one that was called and
  that nobody starts; then those that wait are called. At most so many limits, and so many holders of each, in one call; the
  holders are drawn by lot, so that each one's turn comes.
]]
local MOST_LIMITS, MOST_HOLDERS = 5, 50
local function limits_tend(T, now)
  for _, name in ipairs(call('ZRANGEBYSCORE', T .. 'limits', '-inf', str(now), 'LIMIT', '0', MOST_LIMITS)) do
    -- Before anything is read: a key of a wrong type ends this look, and must not come first in the next one too.
    call('ZADD', T .. 'limits', str(now + CALL_LASTS_MS), name)
    local L = T .. name
    local waited_for = call('EXISTS', L .. ':turns') == 1
    local holders = call('HRANDFIELD', L .. ':held', MOST_HOLDERS, 'WITHVALUES')
    for i = 1, #holders, 2 do
      if not holder_is_real(T, holders[i], holders[i + 1], waited_for, now) then call('HDEL', L .. ':held', holders[i]) end
    end
    room_call(T, L, now)
    if call('EXISTS', L .. ':turns') == 0 then call('ZREM', T .. 'limits', name) end
  end
end
