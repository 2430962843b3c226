SELECT site, window_start, COUNT(*) AS n, MIN(temp) AS temp_min
FROM TABLE(TUMBLE(TABLE readings, DESCRIPTOR(ts), INTERVAL '30' SECOND))
GROUP BY site, window_start, window_end
HAVING NOT (MAX(temp) > 20) OR COUNT(DISTINCT device) > 2
