--[[
  Makes a worker known before it fetches.

  KEYS[1] <tag>:workers   zset   worker -> last beat      KEYS[2] <tag>:worker:<id>   hash   what it is
  KEYS[3] <tag>:machine:<id>   set   workers of the machine   KEYS[4…] <tag>:serving:<queue>   zset   worker -> last beat
  ARGV[1] key prefix of the shard   ARGV[2] worker   ARGV[3] machine   ARGV[4] queues, separated by spaces
  ARGV[5…] fields of its hash

  Returns now.
]]
local call = redis.call
local T, worker = ARGV[1], ARGV[2]
local t = call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
call('HSET', KEYS[2], 'machine', ARGV[3], 'queues', ARGV[4], 'started', string.format('%d', now), unpack(ARGV, 5))
call('ZADD', KEYS[1], now, worker)
call('SADD', T .. 'machine:' .. ARGV[3], worker)
for queue in string.gmatch(ARGV[4], '%S+') do call('ZADD', T .. 'serving:' .. queue, now, worker) end
return string.format('%d', now)
