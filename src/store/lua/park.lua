--[[
  Ends an attempt that waits for a person, a signal or a timer. No worker is held meanwhile. A signal that came early
  completes the step here and now.

  KEYS, ARGV[1…9] and what it returns: see ending.lua
  ARGV[10] what it waits for: a (approval), c (choice), s (signal), t (timer)   ARGV[11] ms until the timer, or the wait, is over, or empty
  ARGV[12] what is asked (JSON), or empty   ARGV[13] checkpoint id   ARGV[14] how the plan has grown, as the worker
  knows it   ARGV[15…] successors: step, number of needs, queue, phase, traits
]]
--#include ending.lua
--#include answer.lua
local a, at = queue_attributes(q), now - p.created
local kept = call('HGET', P .. ':signals', step)
if ARGV[12] ~= '' then call('HSET', P .. ':out', ':ask:' .. step, ARGV[12]) end
if kept and ARGV[10] ~= 't' and p.grown ~= ARGV[14] then
  -- Another step may need this one by now: the next attempt knows, and takes the answer.
  plan_record(P, plan, 'r|' .. str(at) .. '|' .. epoch .. '|' .. step .. '|' .. attempt .. '|grown')
  attempt_hand_back(q, a, id, p, r, false, 0, now)
  call('HSET', P .. ':open', step, open_encode(r))
  plan_settle(T, P, plan, p, {}, now)
  return fetch_after('OK', T, queue, own, token, worker, lock_ms, now)
elseif kept and ARGV[10] ~= 't' then
  queue_drop_job(q, id)
  call('HDEL', P .. ':signals', step)
  answer_step(T, P, plan, step, p, r, kept, ARGV[13], 15, now)
  return fetch_after('OK', T, queue, own, token, worker, lock_ms, now)
end
r.state, r.wait, r.at, r.due = 'w', ARGV[10], str(at), ''
local delay = tonumber(ARGV[11])
if delay then r.due = str(at + delay) end
if delay and not p.pausing then
  queue_delay(q, id, now, delay)
else
  queue_drop_job(q, id)
  -- A timer is held until the plan is resumed; what can be answered goes on waiting.
  if r.wait == 't' then r.state = 'h' end
end
call('HSET', P .. ':open', step, open_encode(r))
plan_record(P, plan, 'w|' .. r.at .. '|' .. epoch .. '|' .. step .. '|' .. attempt .. '|' .. r.wait .. '|' .. r.due)
plan_settle(T, P, plan, p, { waiting = r.state == 'w' and 1 or nil }, now)
return fetch_after('OK', T, queue, own, token, worker, lock_ms, now)
