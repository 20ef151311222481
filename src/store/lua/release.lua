--[[
  Hands a step back without a result and without counting a failure: on drain, or because this worker can't run it.

  KEYS, ARGV[1…9] and what it returns: see ending.lua
  ARGV[10] reason   ARGV[11] delay in ms, 0 for at once   ARGV[12] 1 where no attempt happened: the start is undone; h where
  nobody is to take the step before the plan is resumed; else 0
]]
--#include ending.lua
local delay, undo = tonumber(ARGV[11]), ARGV[12] == '1'
local a, at = queue_attributes(q), now - p.created
if undo then
  call('LREM', P .. ':history', -1, 's|' .. r.at .. '|' .. epoch .. '|' .. step .. '|' .. attempt .. '|' .. r.fence .. '|' .. worker)
  -- See plan_revision: the event that is taken off, and this change.
  call('HINCRBY', P, 'undone', '2')
  r.attempts = str(tonumber(attempt) - 1)
  -- Whoever has the files may be the one that can't run it.
  if p.sandbox then call('HSET', P, 'files_at', '') end
  if call('HGET', P .. ':out', ':unserved:' .. step) == false then
    call('HSET', P .. ':out', ':unserved:' .. step, now_text .. '|' .. ARGV[10])
  end
else
  plan_record(P, plan, 'r|' .. str(at) .. '|' .. epoch .. '|' .. step .. '|' .. attempt .. '|' .. ARGV[10])
end
r.at, r.due = str(at), r.wait ~= '' and r.due or ''
local stuck
if ARGV[12] == 'h' and not p.pausing and not string.find(r.traits, 'i', 1, true) then
  r.state, stuck = 'h', true
  queue_drop_job(q, id)
else
  stuck = attempt_hand_back(q, a, id, p, r, not undo, delay, now)
end
call('HSET', P .. ':open', step, open_encode(r))
if stuck then turn_leave(T, P, plan, p, step, r, {}) end
plan_settle(T, P, plan, p, { uncertain = stuck and 1 or nil }, now)
return fetch_after('OK', T, queue, own, token, worker, lock_ms, now)
