--[[
  Creates a plan and queues the steps that need nothing. The same id with the same request is the same plan.

  KEYS[1] <tag>:plan:<id>   hash   and the other keys of the plan, its queues and its first jobs
  KEYS[2] <tag>:def:<digest>  hash   the definition, uploaded before
  ARGV[1] key prefix of the shard   ARGV[2] plan   ARGV[3] digest of the request   ARGV[4] total of steps
  ARGV[5] name   ARGV[6] version   ARGV[7] definition   ARGV[8] private queue or empty   ARGV[9] actor   ARGV[10] input (JSON)
  ARGV[11] workdir or empty   ARGV[12] 1 where the input is small enough to come with each start
  ARGV[13] sixteen digits for the plan's ids   ARGV[14] phase
  ARGV[15] the snapshot that the sandbox starts from (JSON), ? where it is not taken yet, or empty where the plan has none
  ARGV[16] the document's file (digest of its text, path), or empty   ARGV[17…] roots: step, queue, phase, traits

  Returns CREATED, EXISTING, EXISTS (other content), NOSANDBOX (take the snapshot and ask again) or NODEFINITION.
]]
--#include ../../queue/lua/lean-queue.lua
--#include plan.lua
--#include definition.lua
local T, plan, P, now = ARGV[1], ARGV[2], KEYS[1], redis_now()
local request = call('HGET', P, 'request')
if request then return request == ARGV[3] and 'EXISTING' or 'EXISTS' end
if call('EXISTS', P) == 1 then return 'EXISTS' end
if ARGV[15] == '?' then return 'NOSANDBOX' end
if call('HEXISTS', KEYS[2], ':complete') == 0 then return 'NODEFINITION' end
definition_used(T, ARGV[7], now)
-- What every step reads stands first: a listpack is searched from its front, and to its end for a field it lacks.
call('HSET', P, 'epoch', '1', 'state', 'queued', 'created', now_text, 'fence', now_text, 'backlog', '', 'pausing', '',
  'decision', '0', 'sandbox', ARGV[15] == '' and '' or '1', 'phase', ARGV[14], 'last_completed_step', '', 'last_checkpoint_id', '', 'total', ARGV[4],
  'failed', '0', 'waiting', '0', 'uncertain', '0', 'line', '1', 'tag', ARGV[13], 'name', ARGV[5], 'definition', ARGV[7],
  'queue', ARGV[8], 'inline', ARGV[12], 'grown', '0', 'last_decision_id', 'dec_' .. crockford(now, 10) .. ARGV[13], 'version', ARGV[6],
  'resume_count', '0', 'actor', ARGV[9], 'request', ARGV[3])
call('HSET', P .. ':out', ':input', ARGV[10])
if ARGV[11] ~= '' then call('HSET', P .. ':origin', 'workdir', ARGV[11]) end
if ARGV[15] ~= '' then call('RPUSH', P .. ':sandboxes', ARGV[15]) end
if ARGV[16] ~= '' then call('HSET', P .. ':origin', 'file', ARGV[16]) end
call('ZADD', T .. 'plans', now_text, plan)
call('ZADD', T .. 'plans:open', now_text, plan)
plan_record(P, plan, 'S|0|1|' .. ARGV[9])
local p, cache = { epoch = '1', line = '1', grown = '0' }, {}
for i = 17, #ARGV, 4 do step_release(T, P, plan, ARGV[i], p, ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], cache) end
publish(T)
return 'CREATED'
