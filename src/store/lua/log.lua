--[[
  Appends to an attempt's log and keeps its end.

  KEYS[1] <tag>:plan:<id>:logs   hash   <step>/<attempt> -> text, <step>/<attempt>:bytes -> written in all
  KEYS[2] <tag>:plan:<id>        hash
  ARGV[1] <step>/<attempt>   ARGV[2] text   ARGV[3] bytes to keep   ARGV[4] bytes that were written, more than the text where its beginning was dropped

  Returns bytes written in all, 0 where the plan is gone.
]]
local call = redis.call
if call('EXISTS', KEYS[2]) == 0 then return 0 end
local keep = tonumber(ARGV[3])
local text = (call('HGET', KEYS[1], ARGV[1]) or '') .. ARGV[2]
if #text > keep then text = string.sub(text, -keep) end
call('HSET', KEYS[1], ARGV[1], text)
return call('HINCRBY', KEYS[1], ARGV[1] .. ':bytes', ARGV[4])
