--[[
  Steps that use a plan's files had better run where these are: `files_at` in the plan is the worker whose step left the newest
  ones, `files_passed` how often a step was passed on to it since. Nobody waits: whoever meets such a step leaves it in front
  and looks for another one, a few times in all; then, or where that worker is silent or leaving, anybody takes it.
]]
local MOST_PASSED_ON, FRESH_MS = 8, 2500

local function files_are_elsewhere(T, P, r, worker, now)
  if not string.find(r.traits, '[rw]') then return false end
  local f = call('HMGET', P, 'files_at', 'files_passed')
  local holder = f[1]
  if not holder or holder == '' or holder == worker or tonumber(f[2]) >= MOST_PASSED_ON then return false end
  local beat = call('ZSCORE', T .. 'serving:' .. r.queue, holder)
  if not beat or tonumber(beat) < now - FRESH_MS then return false end
  if call('HGET', T .. 'worker:' .. holder, 'state') ~= 'accepting' then return false end
  call('HINCRBY', P, 'files_passed', '1')
  return true
end
