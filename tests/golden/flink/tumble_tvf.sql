SELECT device, window_start, window_end, window_time, COUNT(*) AS n, SUM(temp) AS temp_sum, MAX(hum) AS hum_max
FROM TABLE(TUMBLE(TABLE readings, DESCRIPTOR(ts), INTERVAL '2' MINUTES))
GROUP BY device, window_start, window_end, window_time
