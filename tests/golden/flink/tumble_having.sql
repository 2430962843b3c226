-- An average that is NULL is not above anything: its group has no row.
SELECT device, TUMBLE_START(ts, INTERVAL '1' MINUTE) AS w_start, COUNT(*) AS n, AVG(temp) AS temp_avg
FROM readings
GROUP BY device, TUMBLE(ts, INTERVAL '1' MINUTE)
HAVING COUNT(*) >= 2 AND (AVG(temp) > 15 OR MIN(load) < -4)
