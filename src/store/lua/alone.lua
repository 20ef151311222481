--[[
  Says that a worker begins a step that has killed workers, and that nothing else runs in its process: a crash from now on
  is this step's own.

  KEYS[1] <tag>:worker:<id>   hash   what the worker is
  ARGV[1] job   ARGV[2] attempt

  Returns 1, or 0 where the store doesn't know the worker (any more).
]]
local call = redis.call
if call('EXISTS', KEYS[1]) == 0 then return 0 end
call('HSET', KEYS[1], 'alone', ARGV[1] .. '|' .. ARGV[2])
return 1
