--[[
  Removes a plan that is over, all of it in one write. Deliveries that are left of it go where a search for them costs
  little; others are dropped by whoever fetches them.

  KEYS[1] <tag>:plan:<id>   hash   and the other keys of the plan
  ARGV[1] key prefix of the shard   ARGV[2] plan   ARGV[3] ms for which it must have been over   ARGV[4] first epoch whose jobs are looked for
  ARGV[5…] steps and queues that their jobs may be in: step, queue …

  Returns OK, or KEPT: it isn't there, isn't over, or hasn't been for so long.
]]
local call = redis.call
local MOST_SEARCHED = 1000
local T, plan = ARGV[1], ARGV[2]
local t = call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local f = call('HMGET', KEYS[1], 'state', 'finished', 'epoch')
local is_over = (f[1] == 'completed' or f[1] == 'cancelled') and f[2] and tonumber(f[2]) <= now - tonumber(ARGV[3])
if not is_over then return 'KEPT' end

for i = 5, #ARGV, 2 do
  local q = T .. ARGV[i + 1] .. ':'
  for epoch = tonumber(ARGV[4]), tonumber(f[3]) do
    local id = string.format('%s/%s/%d', plan, ARGV[i], epoch)
    -- One that is locked is somebody's, who drops it.
    if call('EXISTS', q .. id) == 1 and call('EXISTS', q .. id .. ':lock') == 0 and call('LLEN', q .. 'wait') <= MOST_SEARCHED then
      call('LREM', q .. 'wait', 0, id)
      call('ZREM', q .. 'delayed', id)
      call('ZREM', q .. 'prioritized', id)
      call('DEL', q .. id)
    end
  end
end
call('ZREM', T .. 'plans', plan)
call('ZREM', T .. 'plans:open', plan)
call('ZREM', T .. 'claims', plan)
for i = 1, #KEYS do call('UNLINK', KEYS[i]) end
return 'OK'
