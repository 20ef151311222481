--[[
  What a completed step leaves, whoever completed it.
]]

-- Record, output and event of a step that is done. `writer` = { token, attempts, line, at, fence } of the attempt, and `as`
-- where it didn't complete: n (skipped) or o (failed, and the plan goes on). Returns the fields of the plan that go with it.
local function step_record(P, plan, step, p, writer, output, checkpoint, actor, now)
  local at, as = now - p.created, writer.as or 'c'
  call('HSET', P .. ':steps', step, as .. '|' .. writer.attempts .. '|' .. writer.line .. '|' .. writer.token .. '|'
    .. writer.at .. '|' .. str(at - tonumber(writer.at)) .. '|' .. str(tonumber(writer.fence) - tonumber(writer.at)))
  call('HDEL', P .. ':open', step)
  if output ~= 'null' then call('HSET', P .. ':out', step, output) end
  plan_record(P, plan, as .. '|' .. str(at) .. '|' .. p.epoch .. '|' .. step .. '|' .. writer.attempts .. '|' .. writer.fence
    .. '|' .. p.decision .. '|' .. actor .. (p.sandbox and '|' .. p.sandbox or ''))
  return { 'last_completed_step', step, 'last_checkpoint_id', checkpoint }
end

-- Counts the need that is done. Successors stand in ARGV from `first`: step, how many needs it has, its queue, its
-- phase, its traits. Returns where in ARGV those stand that became free.
local function successors_free(P, first, last)
  local free = {}
  for i = first, last or #ARGV, 5 do
    local needs = ARGV[i + 1]
    if needs == '1' then
      free[#free + 1] = i
    elseif call('HINCRBY', P .. ':needs', ARGV[i], '1') == tonumber(needs) then
      call('HDEL', P .. ':needs', ARGV[i])
      free[#free + 1] = i
    end
  end
  return free
end
