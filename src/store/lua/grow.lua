--[[
  Completes a step that appends others: its record and the plan's new steps are one write. Each of those needs the step
  that appended it, so that a rewind of that one finds them below it.

  KEYS[1] <tag>:worker:<id>:own        hash  token -> queue and job
  KEYS[2] <tag>:plan:<id>              hash  and the other keys of the plan, of the queue and of the jobs it adds
  ARGV[1…9] as in complete.lua   ARGV[10] output (JSON)   ARGV[11] checkpoint id   ARGV[12] as in complete.lua
  ARGV[13] definition   ARGV[14] most steps that a plan may have   ARGV[15] number of successors, then
  successors: step, number of needs, queue, phase, traits …
  appended: step, definition (JSON), queue, phase, traits, number of needs, needs …

  Returns what complete.lua returns, or { UNFIT, now, '', 0, '0', why }: the plan can't have these steps; nothing is written,
  and the slot keeps its step.
]]
--#include ../../queue/lua/lean-queue.lua
--#include plan.lua
--#include start.lua
--#include attempt.lua
--#include completion.lua
-- An event names at most this many steps.
local MOST_NAMED = 500
local T, queue, plan, step, epoch, token, attempt, worker, lock_ms =
  ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local own, P, q, id, now = KEYS[1], KEYS[2], T .. queue .. ':', job_id(plan, step, epoch), redis_now()
local D = T .. 'def:' .. ARGV[13]

local appended, by_id, declared = {}, {}, {}
local last_successor = 15 + 5 * tonumber(ARGV[15])
local i = last_successor + 1
while ARGV[i] do
  local needs, first = {}, i + 6
  for n = first, first + tonumber(ARGV[i + 5]) - 1 do needs[#needs + 1] = ARGV[n] end
  local one = { id = ARGV[i], json = ARGV[i + 1], queue = ARGV[i + 2], phase = ARGV[i + 3], traits = ARGV[i + 4], needs = needs }
  appended[#appended + 1] = one
  i = first + #needs
end

-- Why the plan can't have these steps, or nil. A step may need what exists, in its own phase or an earlier one.
local function unfit(p)
  if p.total + #appended > tonumber(ARGV[14]) then
    return 'the plan would have ' .. str(p.total + #appended) .. ' steps; the limit is ' .. ARGV[14]
  end
  local place = {}
  for n, phase in ipairs(cjson.decode(call('HGET', D, ':head')).phases) do place[phase] = n end
  for _, one in ipairs(appended) do
    if by_id[one.id] or call('HEXISTS', D, one.id) == 1 or call('HEXISTS', P .. ':appended', one.id) == 1 then
      return 'the plan has a step ' .. one.id .. ' already'
    end
    if not place[one.phase] then return 'the plan has no phase ' .. one.phase end
    for _, need in ipairs(one.needs) do
      local known = by_id[need] or declared[need]
      if not known then
        local text = call('HGET', D, need) or call('HGET', P .. ':appended', need)
        if not text then return one.id .. ' needs ' .. need .. ', which the plan does not have' end
        known = cjson.decode(text)
        declared[need] = known
      end
      if place[known.phase] > place[one.phase] then
        return one.id .. ' of phase ' .. one.phase .. ' needs ' .. need .. ' of the later phase ' .. known.phase
      end
    end
    by_id[one.id] = one
  end
end

local refusal, p, r = attempt_refusal(T, q, P, id, step, epoch, token, attempt)
local known = string.match(ARGV[12], '^[01]s?g(%d+)') or '0'
if not refusal and p.grown ~= known then return { 'GROWN', now_text, '', 0, '0' } end
local why = not refusal and unfit(p)
if why then return { 'UNFIT', now_text, '', 0, '0', why } end
if not refusal and not queue_acknowledge(q, id) then refusal = 'LOST' end
if refusal then
  attempt_discard(T, q, id, refusal, now)
  return fetch_after(refusal, T, queue, own, token, worker, lock_ms, now)
end
queue_drop_job(q, id)

local names = {}
for n, one in ipairs(appended) do
  call('HSET', P .. ':appended', one.id, one.json)
  names[n] = one.id
end
p.total, p.grown = p.total + #appended, str(p.grown + 1)
call('HSET', P, 'total', str(p.total), 'grown', p.grown)
backlog_write(P, p)
local cache = {}
local writer = { token = token, attempts = attempt, line = r.line, at = r.at, fence = r.fence }
local saved, snapshot = string.match(ARGV[12], '^[01](s?)g?%d*(.*)$')
local fields = completion_record(T, P, plan, step, p, r, writer, ARGV[10], ARGV[11], saved, snapshot, now, cache)
for from = 1, #names, MOST_NAMED do
  local some = table.concat(names, ' ', from, math.min(from + MOST_NAMED - 1, #names))
  plan_record(P, plan, 'g|' .. str(now - p.created) .. '|' .. epoch .. '|' .. step .. '|' .. some)
end
steps_release(T, P, plan, p, successors_free(P, 16, last_successor), cache)
for _, one in ipairs(appended) do
  local done = 0
  for _, need in ipairs(one.needs) do done = done + call('HEXISTS', P .. ':steps', need) end
  if done == #one.needs then
    step_release(T, P, plan, one.id, p, one.queue, one.phase, one.traits, cache)
  elseif done > 0 then
    call('HSET', P .. ':needs', one.id, str(done))
  end
end
plan_settle(T, P, plan, p, { fields = fields }, now)
return fetch_after('OK', T, queue, own, token, worker, lock_ms, now, cache)
