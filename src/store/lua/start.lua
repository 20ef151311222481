--#include ../../queue/lua/lean-queue.lua
--#include plan.lua
--[[
  The start of an attempt, written by the fetch itself: there is no moment at which a job is taken and nobody knows
  by whom. `own` is the worker's hash of token -> queue prefix and job, which makes a repeated fetch return the same
  job and a takeover cost no more than the dead worker's jobs.
]]

--#include files-at.lua

-- What a worker needs to run the step, as a flat reply: see `decodeFetch`. A small input comes with a plan's first steps;
-- who runs a later one has met the plan already, or reads the input with the outputs that it lacks.
local function started_reply(P, plan, step, epoch, p, r, created)
  local input, workdir = false, false
  local inline = p.inline and call('EXISTS', P .. ':steps') == 0
  if inline then
    input, workdir = call('HGET', P .. ':out', ':input'), call('HGET', P .. ':origin', 'workdir')
  end
  -- The files that a step which reads or writes the sandbox begins with.
  local snapshot = ''
  if string.find(r.traits, '[rw]') then
    snapshot = call('LINDEX', P .. ':sandboxes', tonumber(call('HGET', P, 'sandbox')) - 1) or ''
  end
  return { plan, step, epoch, r.line, r.attempts, r.failures, str(created + tonumber(r.fence)), str(created + tonumber(r.at)),
    (r.due == '' or r.wait == '') and '' or str(created + tonumber(r.due)), p.name, p.definition, p.queue or '', str(created),
    inline and '1' or '0', input or '', workdir or '', p.tag, r.crashes, snapshot, p.grown }
end

local function start_facts(P)
  local f = call('HMGET', P, 'epoch', 'state', 'created', 'fence', 'name', 'definition', 'queue', 'inline', 'backlog', 'tag', 'grown')
  return { epoch = f[1], state = f[2], created = tonumber(f[3]), fence = tonumber(f[4]), name = f[5], definition = f[6],
    queue = f[7], inline = f[8] == '1', backlog = backlog_lanes(f[9]), tag = f[10], grown = f[11] or '0' }
end

-- nil where the job is stale, or its step waits for a limit; 'placed' where it has been put into its place; 'foreign' where it is
-- no step at all; 'elsewhere' where another worker had better take it.
local function start_step(T, queue, id, token, worker, now)
  local plan, step, epoch = string.match(id, '^([^/]+)/(.+)/(%d+)$')
  if not plan then return 'foreign' end
  local P = T .. 'plan:' .. plan
  local p = start_facts(P)
  if p.epoch ~= epoch or p.state == 'paused' or p.state == 'cancelled' or p.state == 'completed' then return nil end
  local r = open_decode(call('HGET', P .. ':open', step))
  if not r or not (r.state == 'q' or r.state == 'd' or (r.state == 'w' and r.due ~= '')) then return nil end
  if files_are_elsewhere(T, P, r, worker, now) then return 'elsewhere' end
  if r.state == 'w' then
    call('HINCRBY', P, 'waiting', '-1')
  end
  if r.limits ~= '' then
    local admitted, job = limits_admit(T, P, plan, step, p.created, r, queue, id, token, now)
    if not admitted then return job end
  end
  local fence, counted = math.max(p.fence + 1, now), r.at == ''
  r.state = 'r'
  r.attempts = str(tonumber(r.attempts) + 1)
  r.token = token
  r.at = str(now - p.created)
  r.fence = str(fence - p.created)
  call('HSET', P .. ':open', step, open_encode(r))
  call('HSET', P, 'fence', str(fence), 'phase', r.phase)
  plan_set_state(T, P, plan, p.state, 'running')
  plan_record(P, plan, 's|' .. r.at .. '|' .. epoch .. '|' .. step .. '|' .. r.attempts .. '|' .. r.fence .. '|' .. worker)
  if counted then lane_leave(T, P, plan, p, r) end
  return started_reply(P, plan, step, epoch, p, r, p.created)
end

-- The job that this token holds already, if its lock says so too.
local function owned_job(T, own, token)
  local entry = call('HGET', own, token)
  if not entry then return nil end
  local q, id = string.match(entry, '^(%S+) (.+)$')
  if q and call('GET', T .. q .. ':' .. id .. ':lock') == token then return q, id end
end

-- { verdict, now, job id, ...started } | { verdict, now, job id, 'foreign', HGETALL } | { verdict, now, '', limit ms, due }
local function fetch_reply(verdict, now, T, queue, id, started)
  if started == 'foreign' then return { verdict, now_text, id, 'foreign', call('HGETALL', T .. queue .. ':' .. id) } end
  local reply = { verdict, now_text, id }
  for i = 1, #started do reply[i + 3] = started[i] end
  return reply
end

--[[
  Fetches for a token. A repeated call (its reply was lost) returns the job that the first one took; `fresh` says that
  this token holds none. `wanted` is a job at the front of the queue that this slot had better take: the reply ends with
  'handed' where it did.
]]
local function fetch(verdict, T, queue, own, token, worker, lock_ms, now, cache, fresh, wanted)
  local held_queue, held
  if not fresh then held_queue, held = owned_job(T, own, token) end
  if held then
    local plan, step, epoch = string.match(held, '^([^/]+)/(.+)/(%d+)$')
    if not plan then return fetch_reply(verdict, now, T, held_queue, held, 'foreign') end
    local P = T .. 'plan:' .. plan
    local p, r = start_facts(P), open_decode(call('HGET', P .. ':open', step))
    if p.created and r and r.token == token then
      return fetch_reply(verdict, now, T, held_queue, held, started_reply(P, plan, step, epoch, p, r, p.created))
    end
    -- The plan went on without it.
    local held_q = T .. held_queue .. ':'
    if queue_acknowledge(held_q, held) then job_dismiss(T, held_q, held, now) end
  end
  local q = T .. queue .. ':'
  local id, a, b = queue_fetch(q, attributes_of(cache, q), token, lock_ms, now, function(candidate)
    return start_step(T, queue, candidate, token, worker, now)
  end)
  if not id then
    call('HDEL', own, token)
    return { verdict, now_text, '', a, str(b) }
  end
  call('HSET', own, token, queue .. ' ' .. id)
  if id == wanted then a[#a + 1] = 'handed' end
  return fetch_reply(verdict, now, T, queue, id, a)
end

-- The fetch after an outcome: what the outcome wrote stands, whatever happens here.
local function fetch_after(verdict, T, queue, own, token, worker, lock_ms, now, cache, wanted)
  -- A repeated call's token may hold another job by now: also where the step it names has gone to another worker since.
  local fresh = verdict == 'OK' or verdict == 'FENCED'
  local ok, reply
  -- A worker that was taken over gets nothing under its old name: nobody would take that from it again.
  if lock_ms ~= '0' and (fresh or call('ZSCORE', T .. 'workers', worker)) then
    ok, reply = pcall(fetch, verdict, T, queue, own, token, worker, lock_ms, now, cache or {}, fresh, wanted)
  end
  if not ok then
    if fresh then call('HDEL', own, token) end
    reply = { verdict, now_text, '', 0, ok == nil and '0' or now_text }
  end
  publish(T)
  return reply
end
