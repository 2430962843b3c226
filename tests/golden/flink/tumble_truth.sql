SELECT site, TUMBLE_START(ts, INTERVAL '2' MINUTE) AS w_start, COUNT(valve) AS valves,
    COUNT(CASE WHEN valve THEN 1 END) AS opened, COUNT(CASE WHEN NOT valve THEN 1 END) AS closed,
    COUNT(CASE WHEN valve IS NOT TRUE THEN 1 END) AS not_open, COUNT(CASE WHEN valve IS UNKNOWN THEN 1 END) AS unsure,
    COUNT(CASE WHEN (temp > 20) IS NOT FALSE THEN 1 END) AS perhaps_hot, MAX(temp) > 30 AS hot,
    CAST(MAX(temp) > 30 AS VARCHAR) AS hot_text
FROM readings
WHERE valve IS NOT FALSE OR temp > 10
GROUP BY site, TUMBLE(ts, INTERVAL '2' MINUTE)
