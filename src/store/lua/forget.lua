--[[
  Removes a definition under which nothing was begun for so long. Whether a plan has it the caller has seen since; a plan that has
  come in between has used it.

  KEYS[1] <tag>:definitions    zset  digest -> when it was last used
  KEYS[2] <tag>:def:<digest>   hash
  ARGV[1] digest   ARGV[2] ms for which it must not have been used

  Returns OK, or KEPT.
]]
local call = redis.call
local t = call('TIME')
local used = call('ZSCORE', KEYS[1], ARGV[1])
if not used or tonumber(used) > t[1] * 1000 + math.floor(t[2] / 1000) - ARGV[2] then return 'KEPT' end
call('UNLINK', KEYS[2])
call('ZREM', KEYS[1], ARGV[1])
return 'OK'
