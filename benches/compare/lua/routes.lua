-- Each request to another of so many routes: wrk … -- COUNT
local count, paths = 1, {}
function init(args)
  count = tonumber(args[1])
  for i = 1, 4096 do
    paths[i] = wrk.format("GET", string.format("/api/service-%d/128", math.random(0, count - 1)))
  end
end
local next = 0
function request()
  next = next % 4096 + 1
  return paths[next]
end
