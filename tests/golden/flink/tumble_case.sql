SELECT device, TUMBLE_START(ts, INTERVAL '2' MINUTE) AS w_start,
    SUM(CASE WHEN state = 'alarm' THEN 1 ELSE 0 END) AS alarms,
    AVG(CASE state WHEN 'ok' THEN temp WHEN 'warn' THEN temp / 2 END) AS quiet_avg,
    CASE WHEN AVG(temp) >= 25 THEN 'hot' WHEN AVG(temp) < 5 THEN 'cold' WHEN AVG(temp) IS NULL THEN 'unknown'
        ELSE 'mild' END AS climate
FROM readings
GROUP BY device, TUMBLE(ts, INTERVAL '2' MINUTE)
