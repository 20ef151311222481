--[[
  How a plan is kept, shared by every transition. `T` is the shard's key prefix, `P` the plan's key.

  P             hash  metadata: short values only, so that it stays a listpack
  P:open        hash  step -> open record: the frontier
  P:steps       hash  step -> record of a done step, written once
  P:out         hash  step -> output; ":input", ":workdir", ":error:<step>", ":ask:<step>"
  P:needs       hash  step -> how many of its needs are done (absent where one need is all it has)
  P:backlog     list  steps that are free to run, not yet in their queue
  P:history     list  events, oldest first
  P:decisions   list  decisions after the root, as JSON
  P:signals     hash  signals that came before their step waited
  P:requests    hash  request id -> answer

  Times in records and history are milliseconds since the plan's `created`, so that they are short.
]]
-- A commit puts at most this many steps into queues; the rest wait in the plan's backlog.
local MOST_RELEASED = 250

-- This call's time, as text too: a number given to a command is formatted anew each time, and slowly.
local now_text

local function redis_now()
  local t = call('TIME')
  local ms = math.floor(tonumber(t[2]) / 1000)
  now_text = t[1] .. string.format('%03d', ms)
  return tonumber(t[1]) * 1000 + ms
end

local function str(number)
  return string.format('%d', number)
end

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

-- state|attempts|failures|crashes|line|token|at|due|wait|queue|phase|fence
local OPEN_PATTERN = '^(%a)|(%d+)|(%d+)|(%d+)|(%d+)|([^|]*)|(-?%d*)|(-?%d*)|(%a?)|([^|]*)|([^|]*)|(-?%d*)$'

local function open_decode(text)
  if not text then return nil end
  local r = {}
  r.state, r.attempts, r.failures, r.crashes, r.line, r.token, r.at, r.due, r.wait, r.queue, r.phase, r.fence =
    string.match(text, OPEN_PATTERN)
  if not r.state then return nil end
  return r
end

local function open_encode(r)
  return r.state .. '|' .. r.attempts .. '|' .. r.failures .. '|' .. r.crashes .. '|' .. r.line .. '|' .. r.token .. '|'
    .. r.at .. '|' .. r.due .. '|' .. r.wait .. '|' .. r.queue .. '|' .. r.phase .. '|' .. r.fence
end

-- The shard's stream gets what happened in one entry a call: plan, event, plan, event …
local happened = {}

local function plan_record(P, plan, entry)
  call('RPUSH', P .. ':history', entry)
  happened[#happened + 1] = plan
  happened[#happened + 1] = entry
end

-- Ends every transition.
local function publish(T)
  for from = 1, #happened, 1000 do
    call('XADD', T .. 'events', 'MAXLEN', '~', '10000', '*', unpack(happened, from, math.min(from + 999, #happened)))
  end
end

-- Terminal plans leave the index of open ones, which sweeps walk.
local function plan_set_state(T, P, plan, old, new)
  if old == new then return end
  call('HSET', P, 'state', new)
  if new == 'completed' or new == 'cancelled' then call('ZREM', T .. 'plans:open', plan) end
end

local function job_id(plan, step, epoch)
  return plan .. '/' .. step .. '/' .. epoch
end

-- Ids can't hold a quote or a backslash, so this is JSON.
local function job_data(plan, step, epoch)
  return '{"plan":"' .. plan .. '","step":"' .. step .. '","epoch":' .. epoch .. '}'
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
  local q = T .. r.queue .. ':'
  queue_add(q, attributes_of(cache, q), job_id(plan, step, epoch), job_data(plan, step, epoch), now_text)
end

-- A step whose needs are all done: to its queue, or to the backlog once this call has released enough.
-- While the plan is pausing it is held instead.
local function step_release(T, P, plan, step, epoch, line, queue, phase, cache)
  local r = { state = 'q', attempts = '0', failures = '0', crashes = '0', line = line, token = '', at = '', due = '',
    wait = '', queue = queue, phase = phase, fence = '' }
  if cache.held then
    r.state = 'h'
    call('HSET', P .. ':open', step, open_encode(r))
    return
  end
  cache.released = (cache.released or 0) + 1
  if cache.released <= MOST_RELEASED then
    step_enqueue(T, P, plan, step, epoch, r, cache)
  else
    r.state = 'b'
    call('HSET', P .. ':open', step, open_encode(r))
    call('RPUSH', P .. ':backlog', step)
    cache.backlogged = true
  end
end

-- Moves steps from the backlog to their queues, as many as one call may.
local function backlog_drain(T, P, plan, epoch, cache)
  local room = MOST_RELEASED - (cache.released or 0)
  if room <= 0 then return end
  local steps = call('LPOP', P .. ':backlog', room)
  if not steps then
    call('HSET', P, 'backlog', '')
    return
  end
  for _, step in ipairs(steps) do
    local r = open_decode(call('HGET', P .. ':open', step))
    if r and r.state == 'b' then step_enqueue(T, P, plan, step, epoch, r, cache) end
  end
  if #steps < room then call('HSET', P, 'backlog', '') end
end

--[[
  Ends a transition: counts, the state that follows from them, and its events. `p` are the plan's facts as read
  before; `change` = { done, failed, waiting } says by how much this transition changed the counts, `fields` what else
  of the plan it changed, `runs` that a step is known to run.
  A plan that is pausing becomes paused with its last running step.
]]
local function plan_settle(T, P, plan, p, change, now)
  local done, failed, waiting = p.done + (change.done or 0), p.failed + (change.failed or 0), p.waiting + (change.waiting or 0)
  local fields = change.fields or {}
  local function set(field, value)
    fields[#fields + 1] = field
    fields[#fields + 1] = value
  end
  set('updated', now_text)
  set('revision', str(p.revision + 1))
  if change.done then set('done', str(done)) end
  if change.failed then set('failed', str(failed)) end
  if change.waiting then set('waiting', str(waiting)) end
  local state = 'running'
  if done >= p.total then
    state = 'completed'
    set('finished', now_text)
    call('DEL', P .. ':signals')
  elseif p.pausing then
    local running = tonumber(p.pausing) - 1
    if running <= 0 then
      state = 'paused'
      set('pausing', '')
      set('epoch', str(p.epoch + 1))
    else
      set('pausing', str(running))
    end
  elseif not change.runs and call('HLEN', P .. ':open') <= failed + waiting then
    state = failed > 0 and 'failed' or 'waiting'
  end
  call('HSET', P, unpack(fields))
  if state ~= p.state then
    plan_set_state(T, P, plan, p.state, state)
    if state ~= 'running' then
      plan_record(P, plan, 'z|' .. str(now - p.created) .. '|' .. p.epoch .. '|' .. state)
    end
  end
  return state
end

-- The worker that a lock token belongs to.
local function token_worker(token)
  return string.match(token, '^([^.]+)') or ''
end

--[[
  Takes open steps out of their queues: their jobs, if any, are stale from now on and dropped when they are fetched;
  delayed ones are removed here. Running steps are told through their worker's inbox why they have to stop.
  `kinds` says which states are held. Returns how many running steps were left alone.
]]
local function plan_hold(T, P, plan, p, kinds, reason)
  local running = 0
  local open = call('HGETALL', P .. ':open')
  for i = 1, #open, 2 do
    local step, r = open[i], open_decode(open[i + 1])
    if r.state == 'd' or (r.state == 'w' and r.wait == 't') then
      local q, id = T .. r.queue .. ':', job_id(plan, step, p.epoch)
      call('ZREM', q .. 'delayed', id)
      queue_drop_job(q, id)
    end
    if r.state == 'r' and not kinds.r then
      running = running + 1
    elseif kinds[r.state] then
      if r.state == 'r' then
        call('RPUSH', T .. 'worker:' .. token_worker(r.token) .. ':inbox', reason .. '|' .. plan .. '|' .. p.epoch)
      end
      r.state = 'h'
      call('HSET', P .. ':open', step, open_encode(r))
    end
  end
  call('DEL', P .. ':backlog')
  call('HSET', P, 'backlog', '')
  return running
end
