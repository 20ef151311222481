--[[
  The end of an attempt: the checks that every outcome shares, and what completing a step writes.
]]

-- Facts of the plan that outcomes need, in one read.
local function attempt_facts(P)
  local f = call('HMGET', P, 'epoch', 'state', 'created', 'revision', 'done', 'total', 'failed', 'waiting', 'line',
    'backlog', 'decisions', 'pausing', 'tag')
  return { epoch = f[1], state = f[2], created = tonumber(f[3]), revision = f[4], done = tonumber(f[5]), total = tonumber(f[6]),
    failed = tonumber(f[7] or 0), waiting = tonumber(f[8] or 0), line = f[9], backlog = f[10], decisions = f[11] or '0',
    pausing = f[12], tag = f[13] }
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
  local done = call('HGET', P .. ':steps', step)
  local r = open_decode(call('HGET', P .. ':open', step))
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
local function attempt_discard(q, id, own, token, refusal)
  if refusal == 'FENCED' and queue_acknowledge(q, id) then queue_finish(q, queue_attributes(q), id, 'null') end
  if refusal ~= 'DUP' then call('HDEL', own, token) end
end

--[[
  Writes a completed step: record, output, checkpoint, metadata, event, and the release of what was waiting for it.
  `writer` = { token, attempts, line, at, fence } of the attempt. Successors stand in ARGV from `first`: step, how many
  needs it has, its queue, its phase. Nothing in here can refuse; plan_settle ends the transition.
]]
local function step_complete(T, P, plan, step, p, writer, output, checkpoint, actor, first, now, cache)
  local at = now - p.created
  cache.held = p.pausing
  call('HSET', P .. ':steps', step, 'c|' .. writer.attempts .. '|' .. writer.line .. '|' .. writer.token .. '|'
    .. writer.at .. '|' .. str(at - tonumber(writer.at)) .. '|' .. str(tonumber(writer.fence) - tonumber(writer.at)))
  call('HDEL', P .. ':open', step)
  if output ~= 'null' then call('HSET', P .. ':out', step, output) end
  plan_record(T, P, plan, 'c|' .. str(at) .. '|' .. p.epoch .. '|' .. step .. '|' .. writer.attempts .. '|' .. writer.fence
    .. '|' .. p.decisions .. '|' .. actor)
  for i = first, #ARGV, 4 do
    local next_step, needs = ARGV[i], ARGV[i + 1]
    local free = needs == '1'
    if not free and call('HINCRBY', P .. ':needs', next_step, 1) == tonumber(needs) then
      call('HDEL', P .. ':needs', next_step)
      free = true
    end
    if free then step_release(T, P, plan, next_step, p.epoch, p.line, ARGV[i + 2], ARGV[i + 3], now, cache) end
  end
  if cache.backlogged then call('HSET', P, 'backlog', '1') end
  if p.backlog then backlog_drain(T, P, plan, p.epoch, now, cache) end
  call('HSET', P, 'last_completed_step', step, 'last_checkpoint_id', checkpoint)
end
