--[[
  What transitions do to a plan: its queues, its backlog, its state. See plan-core.lua for the keys.
]]
--#include plan-core.lua
--#include open-record.lua

-- The shard's stream gets what happened in one entry a call: plan, event, plan, event …
local happened = {}

-- Appends an event to the plan's history.
local function plan_record(P, plan, entry)
  local n = #happened
  happened[n + 1], happened[n + 2] = plan, entry
  call('RPUSH', P .. ':history', entry)
end

-- Rises with every change of the plan. All of them leave an event; an undone start takes its own off again.
local function plan_revision(P)
  return str(call('LLEN', P .. ':history') + (call('HGET', P, 'undone') or 0))
end

-- By queue, how many more of its steps are in backlogs than before this call, for those who watch what waits.
local behind = {}

-- Ends every transition.
local function publish(T)
  for queue, change in pairs(behind) do
    if change ~= 0 and call('HINCRBY', T .. 'backlog', queue, str(change)) == 0 then call('HDEL', T .. 'backlog', queue) end
  end
  for from = 1, #happened, 1000 do
    call('XADD', T .. 'events', 'MAXLEN', '~', '10000', '*', unpack(happened, from, math.min(from + 999, #happened)))
  end
end

-- A plan has at most this many steps of a lane in the queue; the rest wait in its backlog.
local SHARE = 50

local CROCKFORD = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'

-- The time part of a decision's id; src/core/ids.ts writes the same.
local function crockford(value, digits)
  local text = ''
  for _ = 1, digits do
    local digit = value % 32
    text = string.sub(CROCKFORD, digit + 1, digit + 1) .. text
    value = math.floor(value / 32)
  end
  return text
end

local function decision_id(p, place)
  return 'dec_' .. crockford(p.created + tonumber(place), 10) .. p.tag
end

-- A decision is the plan's newest from here on. Its parent is the one in force before it. Returns its place.
local function decision_record(P, plan, p, step, decision, actor, at)
  local place = str(call('RPUSH', P .. ':decisions', p.decision .. '|' .. decision))
  p.decision = place
  call('HSET', P, 'decision', place, 'last_decision_id', decision_id(p, place))
  plan_record(P, plan, 'd|' .. str(at) .. '|' .. p.epoch .. '|' .. step .. '|' .. place .. '|' .. actor)
  return place
end

-- A decision of a step's own: whoever asks for it again, in any attempt of this line, gets this one.
local function choice_record(P, plan, p, step, key, decision, actor, at)
  call('HSET', P .. ':choices', step .. '/' .. key, decision_record(P, plan, p, step, decision, actor, at))
end

-- The recorded choice (JSON), or nil.
local function choice_of(P, step, key)
  local place = call('HGET', P .. ':choices', step .. '/' .. key)
  if not place then return nil end
  return string.match(call('LINDEX', P .. ':decisions', tonumber(place) - 1), '^%d+|(.*)$')
end

--[[
  A rewind supersedes steps: what they chose, saved and were told goes with their records. `superseded` is a set of
  steps. The choices that `kept_step` made before the place `kept_before` stay, where a decision of its own is taken anew.
]]
local function steps_forget(P, superseded, kept_step, kept_before)
  local choices = call('HGETALL', P .. ':choices')
  for i = 1, #choices, 2 do
    local step = string.match(choices[i], '^(.+)/')
    local kept = step == kept_step and tonumber(choices[i + 1]) < kept_before
    if superseded[step] and not kept then call('HDEL', P .. ':choices', choices[i]) end
  end
  for step in pairs(superseded) do
    call('HDEL', P .. ':saved', step)
    call('HDEL', P .. ':signals', step)
  end
end

-- What a superseded step appended is no part of the plan any more: it appends anew.
local function growth_undo(P, p, superseded)
  local appended, count = call('HGETALL', P .. ':appended'), 0
  for i = 1, #appended, 2 do
    if superseded[cjson.decode(appended[i + 1]).appendedBy] then
      call('HDEL', P .. ':appended', appended[i])
      call('HDEL', P .. ':needs', appended[i])
      count = count + 1
    end
  end
  if count > 0 then
    p.total, p.grown = p.total - count, str(p.grown + 1)
    call('HSET', P, 'total', str(p.total), 'grown', p.grown)
  end
end

-- Terminal plans leave the index of open ones, which sweeps walk.
local function plan_set_state(T, P, plan, old, new)
  if old == new then return end
  call('HSET', P, 'state', new)
  if new == 'completed' or new == 'cancelled' then call('ZREM', T .. 'plans:open', plan) end
end

-- One read of a queue's attributes for many adds.
local function attributes_of(cache, q)
  local a = cache[q]
  if not a then
    a = queue_attributes(q)
    cache[q] = a
  end
  return a
end

-- Puts an open step into its queue. `r` is its record, already decoded.
local function step_enqueue(T, P, plan, step, epoch, r, cache)
  r.state = 'q'
  call('HSET', P .. ':open', step, open_encode(r))
  if cache.queued then cache.queued[#cache.queued + 1] = { step = step, queue = r.queue, traits = r.traits } end
  local q = T .. r.queue .. ':'
  queue_add(q, attributes_of(cache, q), job_id(plan, step, epoch), job_data(plan, step, epoch), now_text, nil, priority_of(r))
end

-- Steps that write the sandbox run one at a time: `holder` is the one whose turn it is, also while it is queued or waits
-- for another attempt. Returns whether it is this step's turn; if not, it waits in P:exclusive.
local function exclusive_enter(P, step)
  local holder = call('HGET', P, 'holder')
  if holder and holder ~= '' then
    call('RPUSH', P .. ':exclusive', step)
    return false
  end
  call('HSET', P, 'holder', step)
  return true
end

--[[
  Items of a map of which only so many run at once. P:turns has, by map, how many have a turn, and those that wait, numbered
  in their order: <map>|<number>, from <map>|head + 1 to <map>|tail. A step has its turn until it is done, has failed for
  good, or only a person can go on with it. Returns whether this step has one; if not, it waits.
]]
local function turn_enter(P, step, r)
  local most = string.match(r.traits, 'm(%d+)')
  if not most then return true end
  local turns, map = P .. ':turns', string.match(step, '^[^#]+')
  if tonumber(call('HGET', turns, map) or 0) < tonumber(most) then
    call('HINCRBY', turns, map, '1')
    return true
  end
  call('HSET', turns, map .. '|' .. call('HINCRBY', turns, map .. '|tail', '1'), step)
  return false
end

-- How many lanes have a backlog, or nil.
local function backlog_lanes(field)
  return tonumber(string.match(field or '', '^%d+'))
end

local function backlog_write(P, p)
  call('HSET', P, 'backlog', (p.backlog or '') .. (p.grown ~= '0' and 'g' or ''))
end

local function backlog_count(P, p, change)
  local lanes = (p.backlog or 0) + change
  p.backlog = lanes > 0 and lanes or nil
  backlog_write(P, p)
end

local function behind_count(queue, change)
  behind[queue] = (behind[queue] or 0) + change
end

--[[
  A queue is first come, first served. So that a plan with thousands of steps doesn't fill it before others come, a plan
  has a share of it: SHARE steps of a lane, counted in P:queued. The others wait in the backlog, and each start of one of the
  SHARE puts the next of them at the end of the queue, in the same write, so that workers never find less than there is
  to do. A backlog that isn't empty therefore always has SHARE steps in front of it: nothing but their start takes
  them away, or what clears the whole backlog. A step that has been started once has had its turn: where it goes back to the
  queue, its `at` isn't empty, and nobody follows it.
]]
local function lane_join(T, P, plan, step, p, r, cache)
  local lane = lane_of(r)
  cache.full = cache.full or {}
  if not cache.full[lane] then
    if call('HINCRBY', P .. ':queued', lane, '1') <= SHARE then
      r.at = ''
      step_enqueue(T, P, plan, step, p.epoch, r, cache)
      return
    end
    call('HINCRBY', P .. ':queued', lane, '-1')
    cache.full[lane] = true
  end
  r.state = 'b'
  call('HSET', P .. ':open', step, open_encode(r))
  if call('RPUSH', P .. ':backlog:' .. lane, step) == 1 then backlog_count(P, p, 1) end
  behind_count(r.queue, 1)
end

-- Whether a step of the backlog was there to be queued.
local function lane_pull(T, P, plan, p, lane)
  local backlog = P .. ':backlog:' .. lane
  while p.backlog do
    local step = call('LPOP', backlog)
    if not step then return false end
    if call('LLEN', backlog) == 0 then backlog_count(P, p, -1) end
    local r = open_decode(call('HGET', P .. ':open', step))
    if r and r.state == 'b' then
      behind_count(r.queue, -1)
      r.at = ''
      step_enqueue(T, P, plan, step, p.epoch, r, {})
      return true
    end
  end
  return false
end

-- The step `r`, one of those that P:queued counts, leaves the queue: the next one of the backlog has its place.
local function lane_leave(T, P, plan, p, r)
  local lane = lane_of(r)
  if not lane_pull(T, P, plan, p, lane) then call('HINCRBY', P .. ':queued', lane, '-1') end
end

-- Nothing of the plan is queued any more. `open` is what was open, as HGETALL gives it.
local function lanes_clear(P, p, open)
  for i = 2, #open, 2 do
    if string.sub(open[i], 1, 1) == 'b' then
      local r = open_decode(open[i])
      call('DEL', P .. ':backlog:' .. lane_of(r))
      behind_count(r.queue, -1)
    end
  end
  call('DEL', P .. ':queued')
  p.backlog = nil
  backlog_write(P, p)
end

-- It is the only one, and the files may be here already: it doesn't wait behind the plan's own backlog.
local function exclusive_enqueue(T, P, plan, step, p, r, cache)
  r.at = str(now_text - p.created)
  step_enqueue(T, P, plan, step, p.epoch, r, cache)
end

--#include limits.lua

-- A step that is free to run: to its queue, where its turn has come.
local function step_free(T, P, plan, step, p, r, cache)
  local writes = string.find(r.traits, 'w', 1, true)
  if writes and not exclusive_enter(P, step) or not turn_enter(P, step, r) then
    r.state = 'e'
    call('HSET', P .. ':open', step, open_encode(r))
  elseif writes and cache.queued then
    exclusive_enqueue(T, P, plan, step, p, r, cache)
  else
    lane_join(T, P, plan, step, p, r, cache)
  end
end

-- The next one that waits for the sandbox has it.
local function exclusive_pass_on(T, P, plan, p, cache)
  local following = call('LPOP', P .. ':exclusive')
  call('HSET', P, 'holder', following or '')
  if following then
    exclusive_enqueue(T, P, plan, following, p, open_decode(call('HGET', P .. ':open', following)), cache)
  end
end

-- The next item of the map has the turn of this one.
local function turn_pass_on(T, P, plan, p, step, cache)
  local turns, map = P .. ':turns', string.match(step, '^[^#]+')
  if not call('HGET', turns, map .. '|tail') then
    call('HINCRBY', turns, map, '-1')
    return
  end
  local head = call('HINCRBY', turns, map .. '|head', '1')
  local following = call('HGET', turns, map .. '|' .. head)
  call('HDEL', turns, map .. '|' .. head)
  if call('HGET', turns, map .. '|tail') == str(head) then call('HDEL', turns, map .. '|head', map .. '|tail') end
  lane_join(T, P, plan, following, p, open_decode(call('HGET', P .. ':open', following)), cache)
end

-- The step `r` has ended, or nobody but a person can go on with it: whoever waits for that follows.
local function turn_leave(T, P, plan, p, step, r, cache)
  if string.find(r.traits, 'm', 1, true) then
    turn_pass_on(T, P, plan, p, step, cache)
    return
  end
  if not p.sandbox then return end
  if not string.find(r.traits, 'w', 1, true) or call('HGET', P, 'holder') ~= step then return end
  exclusive_pass_on(T, P, plan, p, cache)
end

-- A step whose needs are all done. While the plan is pausing it is held.
local function step_release(T, P, plan, step, p, queue, phase, traits, cache)
  local r = { state = 'q', attempts = '0', failures = '0', crashes = '0', line = p.line, token = '', at = '', due = '',
    wait = '', queue = queue, phase = phase, fence = '' }
  traits_set(r, traits)
  if cache.held then
    r.state = 'h'
    call('HSET', P .. ':open', step, open_encode(r))
    return
  end
  step_free(T, P, plan, step, p, r, cache)
end

-- Releases the successors that successors_free named.
local function steps_release(T, P, plan, p, free, cache)
  cache.held = p.pausing
  for _, i in ipairs(free) do
    step_release(T, P, plan, ARGV[i], p, ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], cache)
  end
end

--[[
  Ends a transition: counts, the state that follows from them, and its events. `p` are the plan's facts as read
  before; `change` = { failed, waiting, uncertain } says by how much this transition changed the counts, `fields` what else
  of the plan it changed. `uncertain` counts all that only a resume moves: also what a drain handed back to be held.
  A plan that is pausing becomes paused with its last running step.
]]
local function plan_settle(T, P, plan, p, change, now)
  local failed, waiting = p.failed + (change.failed or 0), p.waiting + (change.waiting or 0)
  local uncertain = p.uncertain + (change.uncertain or 0)
  local fields = change.fields or {}
  local function set(field, value)
    fields[#fields + 1] = field
    fields[#fields + 1] = value
  end
  if change.failed then set('failed', str(failed)) end
  if change.waiting then set('waiting', str(waiting)) end
  if change.uncertain then set('uncertain', str(uncertain)) end
  local state = 'running'
  if call('HLEN', P .. ':steps') >= p.total then
    state = 'completed'
    set('finished', now_text)
    call('DEL', P .. ':signals', P .. ':saved', P .. ':queued')
  elseif p.pausing then
    local running = tonumber(p.pausing) - 1
    if running <= 0 then
      state = 'paused'
      set('pausing', '')
      set('epoch', str(p.epoch + 1))
    else
      set('pausing', str(running))
    end
  elseif call('HLEN', P .. ':open') <= failed + waiting + uncertain + (p.sandbox and call('LLEN', P .. ':exclusive') or 0) then
    state = failed > 0 and 'failed' or uncertain > 0 and 'interrupted' or 'waiting'
  end
  if #fields > 0 then call('HSET', P, unpack(fields)) end
  if state ~= p.state then
    plan_set_state(T, P, plan, p.state, state)
    if state ~= 'running' then
      plan_record(P, plan, 'z|' .. str(now - p.created) .. '|' .. p.epoch .. '|' .. state)
    end
  end
  return state
end

-- Nobody alive can run it any more: its steps are in a queue that only one process served.
local function plan_interrupt(T, P, plan, p, now)
  plan_set_state(T, P, plan, 'running', 'interrupted')
  plan_record(P, plan, 'z|' .. str(now - p.created) .. '|' .. p.epoch .. '|interrupted')
end

-- Who paused or cancelled the plan, and why: beside the metadata, whose values have to be short.
local function plan_stopped_by(P, actor, reason)
  call('SET', P .. ':stop', actor .. '|' .. reason)
end

-- Whether only one process serves it: see privateQueueName in keys.ts.
local function queue_is_private(queue)
  return string.sub(queue, 1, 4) == 'run~'
end

-- The worker that a lock token belongs to.
local function token_worker(token)
  return string.match(token, '^([^.]+)') or ''
end

-- Nothing of the plan is queued any more: turns are taken anew by whoever is queued next.
local function turns_clear(P, p)
  call('DEL', P .. ':turns')
  if not p.sandbox then return end
  call('DEL', P .. ':exclusive')
  call('HSET', P, 'holder', '')
end

-- The delayed job of a step: of a retry, a timer, or a wait that ends. One that was promoted is dropped by whoever
-- fetches it, and keeps its hash until then.
local function timer_remove(T, plan, step, epoch, r)
  local q, id = T .. r.queue .. ':', job_id(plan, step, epoch)
  if call('ZREM', q .. 'delayed', id) == 1 then queue_drop_job(q, id) end
end

--[[
  Takes open steps out of their queues: their jobs, if any, are stale from now on and dropped when they are fetched;
  delayed ones are removed here. Running steps are told through their worker's inbox why they have to stop: that ends their attempt.
  `kinds` says which states are held. Returns how many running steps were left alone.
]]
local function plan_hold(T, P, plan, p, kinds, reason)
  local running = 0
  local open = call('HGETALL', P .. ':open')
  for i = 1, #open, 2 do
    local step, r = open[i], open_decode(open[i + 1])
    if r.state == 'd' or (r.state == 'w' and r.due ~= '') then timer_remove(T, plan, step, p.epoch, r) end
    -- Answers to a plan that is paused are kept for the resume; one that failed waits for nothing that ends by itself.
    local timed = r.state == 'w' and (r.wait == 't' or (reason == 'failed' and r.due ~= ''))
    if r.state == 'r' and not kinds.r then
      running = running + 1
    elseif kinds[r.state] or timed or string.find('elk', r.state, 1, true) then
      -- Without its job a timer is no longer waited for; its due time stays in the record.
      if timed then call('HINCRBY', P, 'waiting', '-1') end
      if r.state == 'r' then
        call('RPUSH', T .. 'worker:' .. token_worker(r.token) .. ':inbox', reason .. '|' .. plan .. '|' .. p.epoch)
        plan_record(P, plan, 'r|' .. str(now_text - p.created) .. '|' .. p.epoch .. '|' .. step .. '|' .. r.attempts .. '|' .. reason)
        r.token = ''
      end
      r.state = 'h'
      call('HSET', P .. ':open', step, open_encode(r))
    end
  end
  lanes_clear(P, p, open)
  limits_clear(T, plan, p.epoch, open, tonumber(now_text))
  turns_clear(P, p)
  return running
end
