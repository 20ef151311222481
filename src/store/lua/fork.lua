--[[
  Creates a plan that starts from what another one has done. What it inherits was written before, under keys of no plan,
  which would expire; this makes them the plan's, together with everything else of it. The same id with the same request is
  the same plan. It knows nothing of the source, which may be in another shard.

  KEYS[1] <tag>:plan:<id>       hash   and the other keys of the plan, its queues and its first jobs
  KEYS[2] <tag>:def:<digest>    hash   the definition, uploaded before
  KEYS[3] <tag>:staged          set    names of what is being written
  KEYS[4…] <tag>:staged:<name>:<part>  what it inherits
  ARGV[1] key prefix of the shard   ARGV[2] plan   ARGV[3] digest of the request   ARGV[4] total of steps
  ARGV[5] name   ARGV[6] version   ARGV[7] definition   ARGV[8] actor   ARGV[9] 1 where the input is small enough to come with each start
  ARGV[10] sixteen digits for the plan's ids   ARGV[11] phase   ARGV[12] created   ARGV[13] lowest fence
  ARGV[14] place of the sandbox in force, or empty   ARGV[15] place of the decision in force
  ARGV[16] last completed step   ARGV[17] last checkpoint   ARGV[18] 1 where it has appended steps   ARGV[19] name of what is staged
  ARGV[20] number of parts   ARGV[21] number of events that follow the inherited ones, then
  parts …   events …   first steps: step, queue, phase, traits …

  Returns CREATED, EXISTING, EXISTS (other content), STALE (what was staged is gone) or NODEFINITION.
]]
--#include ../../queue/lua/lean-queue.lua
--#include plan.lua
--#include definition.lua
local T, plan, P, now = ARGV[1], ARGV[2], KEYS[1], redis_now()
local request = call('HGET', P, 'request')
if request then return request == ARGV[3] and 'EXISTING' or 'EXISTS' end
if call('EXISTS', P) == 1 then return 'EXISTS' end
if call('HEXISTS', KEYS[2], ':complete') == 0 then return 'NODEFINITION' end
local first_event = 22 + tonumber(ARGV[20])
local first_step = first_event + tonumber(ARGV[21])
local staged = KEYS[3] .. ':' .. ARGV[19] .. ':'
for i = 22, first_event - 1 do
  if call('EXISTS', staged .. ARGV[i]) == 0 then return 'STALE' end
end

definition_used(T, ARGV[7], now)
for i = 22, first_event - 1 do
  call('RENAME', staged .. ARGV[i], P .. ':' .. ARGV[i])
  call('PERSIST', P .. ':' .. ARGV[i])
end
call('SREM', KEYS[3], ARGV[19])
local is_completed, created = first_step > #ARGV, tonumber(ARGV[12])
call('HSET', P, 'epoch', '1', 'state', is_completed and 'completed' or 'queued', 'created', ARGV[12],
  'fence', str(math.max(now, tonumber(ARGV[13]))), 'backlog', ARGV[18] == '1' and 'g' or '', 'pausing', '', 'decision', ARGV[15], 'sandbox', ARGV[14],
  'phase', ARGV[11], 'last_completed_step', ARGV[16], 'last_checkpoint_id', ARGV[17], 'total', ARGV[4],
  'failed', '0', 'waiting', '0', 'uncertain', '0', 'line', '1', 'tag', ARGV[10], 'name', ARGV[5], 'definition', ARGV[7],
  'queue', '', 'inline', ARGV[9], 'grown', ARGV[18], 'last_decision_id', decision_id({ created = created, tag = ARGV[10] }, ARGV[15]),
  'version', ARGV[6], 'resume_count', '0', 'actor', ARGV[8], 'request', ARGV[3])
call('ZADD', T .. 'plans', ARGV[12], plan)
for i = first_event, first_step - 1 do plan_record(P, plan, ARGV[i]) end
if is_completed then
  call('HSET', P, 'finished', now_text)
  plan_record(P, plan, 'z|' .. str(now - created) .. '|1|completed')
else
  call('ZADD', T .. 'plans:open', ARGV[12], plan)
end
local p, cache = { epoch = '1', line = '1', grown = ARGV[18] }, {}
for i = first_step, #ARGV, 4 do step_release(T, P, plan, ARGV[i], p, ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], cache) end
publish(T)
return 'CREATED'
