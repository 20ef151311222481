--[[
  Writes a schedule, unless somebody has changed it since it was read. Of schedulers that act on the same due time, one goes on.

  KEYS[1] {<prefix>:0}:schedules   hash   name -> schedule (JSON)
  ARGV[1] name   ARGV[2] as it was read, '' where there was none   ARGV[3] as it shall be

  Returns OK or STALE.
]]
local call = redis.call
if (call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 'STALE' end
call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 'OK'
