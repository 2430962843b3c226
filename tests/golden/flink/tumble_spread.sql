-- Of one value alone the POP forms are 0 and the SAMP forms are NULL.
SELECT device, TUMBLE_START(ts, INTERVAL '1' MINUTE) AS w_start, COUNT(hum) AS n,
    STDDEV_POP(hum) AS stddev_of_all, STDDEV_SAMP(hum) AS stddev_of_some, VAR_POP(hum) AS var_of_all,
    VAR_SAMP(hum) AS var_of_some, VAR_SAMP(temp) AS temp_var
FROM readings
GROUP BY device, TUMBLE(ts, INTERVAL '1' MINUTE)
