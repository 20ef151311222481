--[[
  Ends an attempt that failed and that another follows after a delay.

  KEYS, ARGV[1…9] and what it returns: see ending.lua
  ARGV[10] delay in ms   ARGV[11] error (JSON)
]]
--#include ending.lua
local delay = tonumber(ARGV[10])
local a, at = queue_attributes(q), now - p.created
r.failures = str(tonumber(r.failures) + 1)
r.at, r.due, r.wait = str(at), str(at + delay), ''
if p.pausing then
  r.state = 'h'
  queue_drop_job(q, id)
else
  r.state = 'd'
  queue_delay(q, id, now, delay)
end
call('HSET', P .. ':open', step, open_encode(r))
call('HSET', P .. ':out', ':error:' .. step, ARGV[11])
-- Somebody could run it.
call('HDEL', P .. ':out', ':unserved:' .. step)
plan_record(P, plan, 'f|' .. r.at .. '|' .. epoch .. '|' .. step .. '|' .. attempt .. '|0|' .. ARGV[10] .. '|' .. ARGV[11])
plan_settle(T, P, plan, p, {}, now)
return fetch_after('OK', T, queue, own, token, worker, lock_ms, now)
