--[[
  Lets one scheduler resume an interrupted plan: at most so often without a completed step in between, each time after a
  longer pause, and no more plans at once than the store is to be burdened with.

  KEYS[1] <tag>:plan:<id>   hash   `auto`: done steps, claims since, time before which there is no other
  KEYS[2] <tag>:plan:<id>:steps   hash   KEYS[3] <tag>:claims   zset   plan -> when its claim is over
  ARGV[1] plan   ARGV[2] epoch   ARGV[3] budget   ARGV[4] most plans at once   ARGV[5] ms that a claim lasts
  ARGV[6] a random part of 1000, by which the pause is spread

  Returns OK, LATER (another has it, it is too early, or too many are being resumed), SPENT or STALE.
]]
local call = redis.call
local MOST_PAUSE_EXPONENT = 6
local t = call('TIME')
local now = math.floor(t[1] * 1000 + t[2] / 1000)
local function str(number)
  return string.format('%d', number)
end
local f = call('HMGET', KEYS[1], 'epoch', 'state', 'auto')
if f[1] ~= ARGV[2] or f[2] == 'completed' or f[2] == 'cancelled' or f[2] == 'paused' then return 'STALE' end
local done, claims, not_before = string.match(f[3] or '', '^(%d+)|(%d+)|(%d+)$')
local done_now = str(call('HLEN', KEYS[2]))
if not_before and now < tonumber(not_before) then return 'LATER' end
claims = done == done_now and tonumber(claims) or 0
if claims >= tonumber(ARGV[3]) then return 'SPENT' end
call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
if call('ZCARD', KEYS[3]) >= tonumber(ARGV[4]) then return 'LATER' end
call('ZADD', KEYS[3], now + ARGV[5], ARGV[1])
local pause = 2 ^ math.min(claims + 1, MOST_PAUSE_EXPONENT) * 1000 * (0.5 + ARGV[6] / 1000)
call('HSET', KEYS[1], 'auto', done_now .. '|' .. str(claims + 1) .. '|' .. str(now + pause))
return 'OK'
