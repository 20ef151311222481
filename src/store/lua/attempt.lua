--[[
  The end of an attempt: the checks that every outcome shares, and what completing a step writes.
]]

-- Facts of the plan that outcomes need, in one read.
local function attempt_facts(P)
  local f = call('HMGET', P, 'epoch', 'state', 'created', 'revision', 'done', 'total', 'failed', 'waiting', 'line',
    'backlog', 'decisions', 'pausing', 'tag', 'fence')
  return { epoch = f[1], state = f[2], created = tonumber(f[3]), revision = f[4], done = tonumber(f[5]), total = tonumber(f[6]),
    failed = tonumber(f[7] or 0), waiting = tonumber(f[8] or 0), line = f[9], backlog = f[10] ~= '' and f[10], decisions = f[11] or '0',
    pausing = f[12] ~= '' and f[12], tag = f[13], fence = f[14] }
end

--[[
  Whether this attempt may still write. Returns a refusal, or nil with the plan's facts and the step's open record.
    DUP     this very attempt has written already: the reply was lost
    LOST    the job's lock is not this token's: another has the step
    FENCED  the lock is, but the plan's epoch went on; the job is finished, the plan is not touched
  Nothing is written before every key that the outcome will write has been read once, so that a key of a wrong type
  raises here.
]]
local function attempt_refusal(q, P, id, step, epoch, token, attempt)
  local done, r = call('HGET', P .. ':steps', step), open_decode(call('HGET', P .. ':open', step))
  if done then
    local attempts, writer = string.match(done, '^%a|(%d+)|%d+|([^|]*)|')
    if attempts == attempt and writer == token then return 'DUP' end
  elseif r and r.state ~= 'r' and r.token == token and r.attempts == attempt then
    return 'DUP'
  end
  if call('GET', q .. id .. ':lock') ~= token then return 'LOST' end
  local p = attempt_facts(P)
  if p.epoch ~= epoch or p.state == 'cancelled' or p.state == 'completed' or p.state == 'paused' then return 'FENCED' end
  if done or not r or r.state ~= 'r' or r.token ~= token then return 'LOST' end
  call('LLEN', P .. ':history')
  call('HSTRLEN', P .. ':out', step)
  return nil, p, r
end

-- What a refused attempt leaves: its job is finished where the lock was its own, the plan is as it was.
local function attempt_discard(q, id, refusal)
  if refusal == 'FENCED' and queue_acknowledge(q, id) then queue_drop_job(q, id) end
end

--[[
  Writes a completed step: record, output, checkpoint, metadata, event, and the release of what was waiting for it.
  `writer` = { token, attempts, line, at, fence } of the attempt. Successors stand in ARGV from `first`: step, how many
  needs it has, its queue, its phase. `hand_off(step, queue, phase)`, where there is one, may take the only step that
  became free. Returns the fields of the plan that it changes. Nothing in here can refuse; plan_settle ends the transition.
]]
local function step_complete(T, P, plan, step, p, writer, output, checkpoint, actor, first, now, cache, hand_off)
  local at = now - p.created
  cache.held = p.pausing
  call('HSET', P .. ':steps', step, 'c|' .. writer.attempts .. '|' .. writer.line .. '|' .. writer.token .. '|'
    .. writer.at .. '|' .. str(at - tonumber(writer.at)) .. '|' .. str(tonumber(writer.fence) - tonumber(writer.at)))
  call('HDEL', P .. ':open', step)
  if output ~= 'null' then call('HSET', P .. ':out', step, output) end
  plan_record(P, plan, 'c|' .. str(at) .. '|' .. p.epoch .. '|' .. step .. '|' .. writer.attempts .. '|' .. writer.fence
    .. '|' .. p.decisions .. '|' .. actor)
  local free = {}
  for i = first, #ARGV, 4 do
    local needs = ARGV[i + 1]
    if needs == '1' then
      free[#free + 1] = i
    elseif call('HINCRBY', P .. ':needs', ARGV[i], '1') == tonumber(needs) then
      call('HDEL', P .. ':needs', ARGV[i])
      free[#free + 1] = i
    end
  end
  local only = #free == 1 and hand_off and not p.pausing and free[1]
  if only and hand_off(ARGV[only], ARGV[only + 2], ARGV[only + 3]) then
    cache.handed = true
  else
    for _, i in ipairs(free) do
      step_release(T, P, plan, ARGV[i], p.epoch, p.line, ARGV[i + 2], ARGV[i + 3], cache)
    end
  end
  if cache.backlogged then call('HSET', P, 'backlog', '1') end
  if p.backlog then backlog_drain(T, P, plan, p.epoch, cache) end
  return { 'last_completed_step', step, 'last_checkpoint_id', checkpoint }
end
