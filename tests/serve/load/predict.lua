-- wrk posts one image after another to /predict: `wrk ... -s predict.lua URL -- FOLDER SUMMARY`, where FOLDER has 0.png, 1.png, ...
-- In the end SUMMARY has requests, microseconds, percentiles of latency and failures, as JSON.

local images, place, summary = {}, 0, nil

function setup(thread)
  thread:set("start", math.random(0, 1000))
end

function init(arguments)
  while true do
    local file = io.open(arguments[1] .. "/" .. #images .. ".png", "rb")
    if not file then break end
    images[#images + 1] = wrk.format("POST", "/predict", { ["Content-Type"] = "image/png" }, file:read("*a"))
    file:close()
  end
  place = start % #images
end

function request()
  place = place % #images + 1
  return images[place]
end

function done(found, latency, requests)
  local errors = found.errors
  print(string.format(
    '{"requests": %d, "seconds": %.3f, "p50": %.0f, "p90": %.0f, "p99": %.0f, "most": %.0f, ' ..
    '"connect": %d, "read": %d, "write": %d, "timeout": %d, "status": %d}',
    found.requests, found.duration / 1e6, latency:percentile(50), latency:percentile(90), latency:percentile(99), latency.max,
    errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end
