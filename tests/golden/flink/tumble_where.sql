-- Where temp or hum is NULL, AND and NOT are NULL or not by what the other side says.
SELECT device, TUMBLE_START(ts, INTERVAL '5' MINUTE) AS w_start, COUNT(*) AS n, COUNT(temp) AS temps,
    COUNT(hum) AS hums, COUNT(load) AS loads
FROM readings
WHERE NOT (temp > 20 AND hum > 40) OR load < 0
GROUP BY device, TUMBLE(ts, INTERVAL '5' MINUTE)
