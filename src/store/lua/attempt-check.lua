--[[
  The end of an attempt: the checks that every outcome shares.
]]

-- Facts of the plan that outcomes need, in one read.
local function attempt_facts(P)
  local f = call('HMGET', P, 'epoch', 'state', 'created', 'total', 'failed', 'waiting', 'line', 'backlog',
    'decision', 'pausing', 'tag', 'fence', 'uncertain', 'sandbox', 'grown')
  return { epoch = f[1], state = f[2], created = tonumber(f[3]), total = tonumber(f[4]),
    failed = tonumber(f[5] or 0), waiting = tonumber(f[6] or 0), line = f[7], backlog = backlog_lanes(f[8]), decision = f[9] or '0',
    pausing = f[10] ~= '' and f[10], tag = f[11], fence = f[12], uncertain = tonumber(f[13] or 0), sandbox = f[14] ~= '' and f[14],
    grown = f[15] or '0' }
end

--[[
  Whether this attempt may still write. Returns a refusal, or nil with the plan's facts and the step's open record.
    DUP     this very attempt has written already: the reply was lost
    LOST    the job's lock is not this token's: another has the step
    FENCED  the lock is, but the plan's epoch went on; the job is finished, the plan is not touched
  Nothing is written before every key that the outcome will write has been read once, so that a key of a wrong type
  raises here.
]]
local function attempt_refusal(T, q, P, id, step, epoch, token, attempt)
  local done, r = call('HGET', P .. ':steps', step), open_decode(call('HGET', P .. ':open', step))
  if done then
    if string.match(done, '^%a|%d+|%d+|([^|]*)|') == token then return 'DUP' end
  elseif r and r.token == token and (r.state ~= 'r' or r.attempts ~= attempt) then
    -- Whoever takes a step from its holder clears the token. So the holder ended this attempt, and may have begun another.
    return 'DUP'
  end
  if call('GET', q .. id .. ':lock') ~= token then return 'LOST' end
  local p = attempt_facts(P)
  if p.epoch ~= epoch or p.state == 'cancelled' or p.state == 'completed' or p.state == 'paused' then return 'FENCED' end
  if done or not r or r.state ~= 'r' or r.token ~= token then return 'LOST' end
  call('LLEN', P .. ':history')
  call('HSTRLEN', P .. ':out', step)
  call('HLEN', P .. ':needs')
  call('HLEN', P .. ':queued')
  if string.find(r.traits, 'm', 1, true) then call('HLEN', P .. ':turns') end
  if r.limits ~= '' then call('HLEN', T .. 'limit:' .. (place_of(r) or '') .. ':held') end
  if p.sandbox then
    call('LLEN', P .. ':sandboxes')
    call('LLEN', P .. ':exclusive')
  end
  return nil, p, r
end

-- What a refused attempt leaves: its job is finished where the lock was its own, the plan is as it was.
local function attempt_discard(T, q, id, refusal, now)
  if refusal == 'FENCED' and queue_acknowledge(q, id) then job_dismiss(T, q, id, now) end
end
