--[[
  The shard's time, also where keys are on several servers with clocks of their own.

  KEYS[1] any key of the shard

  Returns milliseconds since 1970.
]]
local t = redis.call('TIME')
return string.format('%d', t[1] * 1000 + math.floor(t[2] / 1000))
