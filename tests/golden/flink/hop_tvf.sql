SELECT site, window_start, window_end, COUNT(*) AS n, COUNT(DISTINCT device) AS devices, AVG(temp) AS temp_avg
FROM TABLE(HOP(TABLE readings, DESCRIPTOR(ts), INTERVAL '30' SECOND, INTERVAL '3' MINUTES))
WHERE state <> 'ok'
GROUP BY site, window_start, window_end
HAVING COUNT(*) > 1
